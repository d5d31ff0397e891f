/**
 * How a reader's mail program takes a PKCS#12, for the page that goes with it. What could be tried here was: Thunderbird's words stand
 * in its own files. The others follow what their makers and many operators write; where that depends on version or account it says so.
 */
import { markup, type Markup } from './markup.ts';

export interface ProgramFacts {
  /** Of the PKCS#12. */
  readonly file: string;
  readonly authorityName: string;
  readonly key: 'rsa' | 'ec';
}

/** One section of the page. */
export interface Program {
  /** Of the link to it: letters and dashes. */
  readonly id: string;
  readonly title: string;
  readonly steps: readonly Markup[];
  readonly notes: readonly Markup[];
}

export const programsFor = (facts: ProgramFacts): readonly Program[] => [
  outlookClassic(facts),
  newOutlook(facts),
  outlookMobile(facts),
  thunderbird(facts),
  appleMobile(facts),
  appleMail(facts),
];

const outlookClassic = ({ file, authorityName }: ProgramFacts): Program => ({
  id: 'outlook-classic',
  title: 'Outlook for Windows (classic)',
  steps: [
    markup`Choose <b>File › Options › Trust Center › Trust Center Settings › Email Security</b>.`,
    markup`Under <b>Digital IDs (Certificates)</b> choose <b>Import/Export</b>, then <b>Import existing Digital ID from a file</b>.`,
    markup`Pick <bdi>${file}</bdi>, type the password, give your mail address as the name, and press <b>OK</b> until all is closed.`,
    markup`If Windows asks whether to install the certificate of “<bdi>${authorityName}</bdi>”, compare its thumbprint with the one on this page, and say <b>Yes</b> where they are the same.`,
  ],
  notes: [
    markup`To open the file in the Explorer by a double click does the same: store <b>Current User</b>, and let Windows choose the place.`,
    markup`“Your digital ID name cannot be found by the underlying security system” means that the file was not imported for the person who is logged in.`,
  ],
});

const newOutlook = ({ file }: ProgramFacts): Program => ({
  id: 'outlook-new',
  title: 'New Outlook for Windows, Outlook on the web',
  steps: [
    markup`Close Outlook and double-click <bdi>${file}</bdi> in the Explorer. Choose <b>Current User</b>, type the password, and let Windows choose the place: new Outlook has no import of its own and takes what Windows has.`,
    markup`Open Outlook and a sealed message.`,
    markup`On the web: use Edge or Chrome on that same Windows computer. It needs Microsoft’s S/MIME extension, which your organisation’s administrator rolls out; <b>Settings › Mail › S/MIME</b> says whether it is there.`,
  ],
  notes: [
    markup`This is for work and school accounts of Microsoft 365. How far it goes depends on the version and on what your administrator switched on. With other accounts, or where a sealed message stays closed, use Outlook (classic) or Thunderbird.`,
    markup`In a browser on a Mac, a phone or a computer that is not yours sealed mail does not open.`,
  ],
});

const outlookMobile = ({ file }: ProgramFacts): Program => ({
  id: 'outlook-mobile',
  title: 'Outlook for iPhone, iPad and Android',
  steps: [
    markup`Is the phone managed by your organisation (Intune)? Then its administrator can send the certificate to it: ask before you go on.`,
    markup`Otherwise mail <bdi>${file}</bdi> to yourself, from your account to the same account, without the password. Open that mail <b>in Outlook on the phone</b>, tap the file, and type the password. Delete the mail everywhere afterwards, and empty the trash.`,
    markup`In Outlook’s settings choose your account, then <b>Security</b>, and switch <b>S/MIME</b> on.`,
  ],
  notes: [
    markup`A certificate that you install in the settings of iPhone or Android itself is not seen by Outlook.`,
    markup`Where Outlook shows no <b>S/MIME</b> the account is of another kind than Microsoft 365, or your administrator has not prepared it. On iPhone and iPad Apple’s Mail is the way then.`,
  ],
});

const thunderbird = ({ file, authorityName, key }: ProgramFacts): Program => ({
  id: 'thunderbird',
  title: 'Thunderbird (Windows, macOS, Linux)',
  steps: [
    markup`Open <b>Account Settings</b>, choose <b>End-To-End Encryption</b> at your account, and there <b>Manage S/MIME Certificates</b>.`,
    markup`On the tab <b>Your Certificates</b> choose <b>Import</b>, pick <bdi>${file}</bdi>, and type the password.`,
    markup`On the tab <b>Authorities</b> look for “<bdi>${authorityName}</bdi>”, choose <b>Edit Trust</b>, tick <b>This certificate can identify mail users</b>, and press <b>OK</b>. Reading works without it; answering sealed does not.`,
    markup`To answer sealed as well: back at <b>End-To-End Encryption</b>, <b>Select</b> the certificate under S/MIME.`,
  ],
  notes: [
    markup`Thunderbird for Android does not open S/MIME.`,
    ...(key === 'ec'
      ? [markup`Old versions take the file, and cannot open mail for this kind of key: update Thunderbird, or ask for an RSA key.`]
      : []),
  ],
});

const appleMobile = ({ file, authorityName, key }: ProgramFacts): Program => ({
  id: 'iphone',
  title: 'Mail on iPhone and iPad',
  steps: [
    markup`Bring <bdi>${file}</bdi> to the phone: by a mail to yourself that you open in Mail, by AirDrop or in Files. Tap it; the phone says that a profile was downloaded.`,
    markup`<b>Settings › General › VPN &amp; Device Management</b>: choose the profile, <b>Install</b>, and type the password. That the profile is “not signed” is as it should be.`,
    markup`<b>Settings › Apps › Mail › Mail Accounts</b> (older: <b>Settings › Mail › Accounts</b>): choose your account, then <b>Advanced</b>. Where there is a switch for S/MIME, switch it on, and choose the certificate under <b>Encrypt by Default</b> if you want to answer sealed.`,
    markup`If “<bdi>${authorityName}</bdi>” stands under <b>Settings › General › About › Certificate Trust Settings</b>, switch it on. Reading works without it.`,
  ],
  notes: ecAtApple(key),
});

const appleMail = ({ file, authorityName, key }: ProgramFacts): Program => ({
  id: 'mac',
  title: 'Mail and Outlook on a Mac',
  steps: [
    markup`Double-click <bdi>${file}</bdi>. Keychain Access asks where to: choose <b>login</b>, and type the password.`,
    markup`Quit Mail or Outlook, and open it again. Sealed mail opens; the first time the Mac asks for the password of your keychain: <b>Always Allow</b>.`,
    markup`To answer sealed: in Keychain Access open “<bdi>${authorityName}</bdi>”, <b>Trust</b>, and choose <b>Always Trust</b> for S/MIME.`,
  ],
  notes: ecAtApple(key),
});

/** Their older systems read no AES in a PKCS#12, which is how an EC key comes, and blame the password. */
const ecAtApple = (key: 'rsa' | 'ec'): readonly Markup[] =>
  key === 'rsa'
    ? []
    : [markup`If a right password is called wrong, the system is too old for this kind of key: ask for a certificate with an RSA key.`];
