/**
 * What the replies of upstreams mean, as data: the first row that fits a reply gives its class. classify.ts reads the table and
 * says what follows from a class; a test walks every example. A reply that was read wrongly gets a row here, in front of the
 * more general ones, with its words as the example.
 */
import type { ClassRow } from './classes.ts';

/** Statuses that tell too little: undefined, policy, and those that upstreams use for load. All others tell more than words do. */
export const openStatuses: readonly string[] = ['x.0.0', 'x.7.x', 'x.3.2', 'x.4.5', 'x.5.3'];

/** A size, a length, a way, a mailbox, an address: words of limits that are none of ours. */
const aboutOneMessage = [
  'too many hops',
  'too many received',
  'message size',
  'size limit',
  'line length',
  'line too long',
  'too large',
  'too big',
  'mailbox quota',
  'mailbox daily',
  'mailbox full',
  'mailbox is full',
  'over quota',
  'unverified address',
  'address verification',
  'has a virus',
  'contains a virus',
  'virus found',
  'virus detected',
];

/** Text that an upstream wrote for people counts only where nothing else tells; so rows with words stand in front of those without. */
export const classTable: readonly ClassRow[] = [
  {
    code: '2xx',
    class: 'delivered',
    examples: ['250 2.0.0 Ok: queued as 4Zk3Yx', '250 OK id=1sAbCd-0001', '250 2.6.0 Queued mail for delivery', '250 Ok 0102018f'],
  },
  {
    code: '4xx',
    words: ['greylist', 'graylist', 'grey list', 'gray list', 'grey-list', 'postgrey'],
    besides: ['4.2.0', '4.3.x'],
    class: 'greylisted',
    examples: [
      '450 4.2.0 <anna@clinic.example>: Recipient address rejected: Greylisted, see http://postgrey.example/help',
      '450 4.7.1 <relay.example[192.0.2.1]>: Client host rejected: Greylisted',
      '451 4.7.1 Greylisting in action, please come back later',
      '451 Temporarily graylisted, retry in 300 seconds',
    ],
  },
  // The session and not the host, in words and codes that throttling has too.
  {
    code: '4xx',
    words: ['this connection', 'this session', 'per session', 'per connection', 'one connection', 'too many errors'],
    class: 'session-over',
    examples: [
      '421 4.7.0 too many messages in this session',
      '421 too many messages in one connection',
      '421 Max message per connection reached, closing transmission channel',
      '421 4.7.0 mx.example Error: too many errors',
    ],
  },
  {
    code: '503',
    class: 'session-over',
    examples: ['503 5.5.1 Bad sequence of commands', '503 5.5.1 Error: need RCPT command', '503 Sender already specified'],
  },
  // Limits of the relay with statuses that usually tell of one mailbox or one address.
  {
    code: '421',
    status: '4.4.2',
    words: ['submission rate'],
    class: 'throttled',
    examples: ['421 4.4.2 Message submission rate for this client has exceeded the configured limit'],
  },
  {
    code: '550',
    status: '5.1.90',
    class: 'throttled',
    examples: ["550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients"],
  },
  {
    code: '554',
    status: '5.2.0',
    words: ['submissionquotaexceeded'],
    class: 'throttled',
    examples: ['554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message'],
  },
  // One address, one mailbox, one message, and their limits: "at a rate" is no rate of ours.
  {
    code: '45x',
    status: '4.1.x',
    class: 'temporary',
    examples: [
      '450 4.1.8 <ratelimit@nowhere.example>: Sender address rejected: Domain not found',
      '450 4.1.1 <anna@clinic.example>: Recipient address rejected: unverified address: host mx.example said: 450 too many connections',
    ],
  },
  {
    code: '45x',
    status: '4.2.x',
    class: 'temporary',
    examples: [
      '450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages',
      '452 4.2.2 The email account that you tried to reach is over quota',
      '451 4.2.0 mailbox is busy, too many deliveries to it',
    ],
  },
  { code: '45x', status: '4.3.4', class: 'temporary', examples: ['452 4.3.4 Message size limit exceeded'] },
  { code: '45x', status: '4.4.6', class: 'temporary', examples: ['451 4.4.6 Too many hops'] },
  { code: '45x', status: '4.6.x', class: 'temporary', examples: ['451 4.6.0 too many parts in this message'] },
  {
    code: '45x',
    words: aboutOneMessage,
    class: 'temporary',
    examples: [
      '450 Too many hops',
      '451 message line length limit exceeded',
      '452 mailbox quota exceeded',
      '452 Message size limit exceeded',
      '450 unverified address: host mx.example said: 450 too many connections',
      '451 4.7.1 this message contains a virus, too many of them',
    ],
  },
  {
    code: '5xx',
    status: '5.1.x',
    class: 'refused',
    examples: [
      '550 5.1.1 <nobody@clinic.example>: Recipient address rejected: User unknown',
      '530 5.1.1 unknown',
      '550 5.1.8 <"daily limit"@nowhere.example>: Sender address rejected: Domain not found',
    ],
  },
  {
    code: '5xx',
    status: '5.2.x',
    class: 'refused',
    examples: [
      '552 5.2.2 The email account that you tried to reach is over quota',
      '552 5.2.2 mailbox daily limit',
      '521 5.2.1 mailbox disabled for good',
      '554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message',
    ],
  },
  {
    code: '5xx',
    status: '5.3.4',
    class: 'refused',
    examples: ['552 5.3.4 Message size exceeds fixed maximum message size', '534 5.3.4 Message too big for system'],
  },
  { code: '5xx', status: '5.4.6', class: 'refused', examples: ['554 5.4.6 Too many hops'] },
  { code: '5xx', status: '5.6.x', class: 'refused', examples: ['554 5.6.0 Message contains invalid header'] },
  {
    code: '5xx',
    words: aboutOneMessage,
    class: 'refused',
    examples: [
      '550 5.7.1 too large: limit for sending is 10MB',
      '554 5.7.1 The message from this IP has a virus',
      '552 mailbox daily limit',
    ],
  },

  // Too much: of messages, of connections, of recipients, in all or for a while.
  { code: '4xx', status: '4.7.12', class: 'wants-of-relay', examples: ['432 4.7.12 A password transition is needed'] },
  {
    code: '432',
    class: 'throttled',
    examples: ['432 4.3.2 Concurrent connections limit exceeded', '432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded'],
  },
  {
    code: '4xx',
    status: '4.7.28',
    class: 'throttled',
    examples: [
      '421 4.7.28 Our system has detected an unusual volume of mail from your IP',
      '450 4.7.28 an unusual rate of unsolicited mail',
    ],
  },
  {
    code: '45x',
    status: '4.5.3',
    class: 'throttled',
    examples: ['452 4.5.3 Error: too many recipients', '451 4.5.3 Your message has too many recipients'],
  },
  {
    code: '4xx',
    words: [
      'too many',
      'too much mail',
      'rate limit',
      'rate-limit',
      'ratelimit',
      'sending rate',
      'submission rate',
      'sending limit',
      'rate exceeded',
      'unusual rate',
      'unexpected volume',
      'throttl',
      'slow down',
      'server busy',
      'limit exceeded',
      'message quota exceeded',
      'exceeded the rate',
      'concurrent connections',
    ],
    class: 'throttled',
    examples: [
      '421 4.7.0 mx.example Error: too many connections from 192.0.2.1',
      '450 4.7.1 Error: too much mail from 192.0.2.1',
      '451 4.7.500 Server busy. Please try again later from [192.0.2.1]',
      '451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation',
      '421 RP-001 The mail server IP has exceeded the rate limit allowed',
      '421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints',
      '450 4.7.1 You have exceeded your sending limit for now',
      '451 4.7.1 sending rate is too high',
      '454 Throttling failure: Maximum sending rate exceeded.',
      '454 Throttling failure: Daily message quota exceeded.',
      '421 4.7.0 Too many login attempts, please try again later',
    ],
  },
  // 5yz by their first digit, and still only for today.
  {
    code: '5xx',
    words: ['daily user sending', 'daily sending quota', 'daily limit', 'smtp relay quota', 'limit for sending'],
    class: 'throttled',
    examples: [
      '550 5.4.5 Daily user sending limit exceeded. For more information on sending limits see support',
      '550 5.7.0 Daily SMTP relay quota exceeded for customer',
    ],
  },

  // RFC 4954 §6, RFC 3207 §4: any message hears it, until the configuration of one of the two is mended; then this one passes.
  {
    code: '53x',
    class: 'wants-of-relay',
    examples: [
      '530 5.7.0 Must issue a STARTTLS command first',
      '530 5.7.57 Client not authenticated to send mail',
      '530 5.7.0 Authentication Required',
      '534 5.7.9 Authentication mechanism is too weak',
      '535 5.7.8 Username and Password not accepted',
      '535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated',
      '538 5.7.11 Encryption required for requested authentication mechanism',
    ],
  },
  {
    code: '454',
    class: 'wants-of-relay',
    examples: ['454 4.7.0 Temporary authentication failure', '454 4.7.0 TLS not available due to local problem'],
  },
  {
    code: 'xxx',
    words: ['authentication required', 'authentication is required', 'must authenticate', 'must be authenticated', 'encryption required'],
    class: 'wants-of-relay',
    examples: ['550 5.7.1 Authentication required', '550 you must authenticate before sending', '550 5.7.10 Encryption required'],
  },

  // About the relay and not about the message: 5yz that a mended DNS entry, list or connector turns into 250.
  {
    code: '55x',
    words: [
      'relay access denied',
      'relaying denied',
      'relay not permitted',
      'unable to relay',
      'relaying not allowed',
      'relay denied',
      'rcpthosts',
    ],
    class: 'not-relayed',
    examples: [
      '554 5.7.1 <anna@clinic.example>: Relay access denied',
      '550 5.7.64 TenantAttribution; Relay Access Denied',
      '550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain',
      '550 5.7.1 anna@clinic.example... Relaying denied',
      '550 relay not permitted',
      "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    ],
  },
  {
    code: 'xxx',
    words: [
      'client host',
      'helo command rejected',
      'banned sending ip',
      'from this ip',
      'from your ip',
      'reputation of the sending ip',
      'ptr record',
    ],
    besides: ['5.5.2'],
    class: 'blocked',
    examples: [
      '550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus',
      '554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org',
      '554 5.7.1 <relay.example[192.0.2.1]>: Client host rejected: Access denied',
      '450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]',
      '550 5.7.606 Access denied, banned sending IP [192.0.2.1]',
      '550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP',
      '550 5.7.25 The IP address sending this message does not have a PTR record setup',
      '504 5.5.2 <relay>: Helo command rejected: need fully-qualified hostname',
    ],
  },
  {
    code: '550',
    words: ['tenant has exceeded', 'unregistered domain', 'tenant has been blocked'],
    class: 'blocked',
    examples: [
      '550 5.7.705 Service unavailable. Access denied, tenant has exceeded threshold',
      '550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains',
    ],
  },

  {
    code: '421',
    class: 'host-trouble',
    examples: [
      '421 4.3.2 Service shutting down and closing transmission channel',
      '421 4.4.2 mx.example Error: timeout exceeded',
      '421 Service not available',
    ],
  },
  {
    code: '4xx',
    status: '4.3.x',
    class: 'host-trouble',
    examples: [
      '451 4.3.0 Error: queue file write error',
      '452 4.3.1 Insufficient system storage',
      '451 4.3.2 Temporary server error. Please try again later',
      '451 4.3.5 Server configuration problem',
      '450 4.3.2 Service currently unavailable',
    ],
  },
  {
    code: '452',
    words: ['insufficient system', 'space shortage', 'disk full', 'out of disk'],
    class: 'host-trouble',
    examples: ['452 Insufficient system resources', '452 space shortage, please try later'],
  },
  {
    code: '5xx',
    status: '5.3.5',
    class: 'host-trouble',
    examples: ['554 5.3.5 Local configuration error', '553 5.3.5 system config error'],
  },

  // What is left is about the message, as its first digit says.
  {
    code: '4xx',
    class: 'temporary',
    examples: [
      '451 4.4.0 DNS query failed',
      '451 4.7.1 Service unavailable - try again later',
      '451 Temporary local problem - please try later',
      '450 mailbox unavailable',
      '459 4.9.9 what is this',
    ],
  },
  {
    code: '5xx',
    class: 'refused',
    examples: [
      '550 5.4.1 Recipient address rejected: Access denied',
      '550 5.7.1 Message rejected as spam by content filtering',
      '554 5.7.1 Service unavailable; Sender address [forms@clinic.example] blocked using dbl.spamhaus.org',
      '550 5.7.60 SMTP; Client does not have permissions to send as this sender',
      '554 Message rejected: Email address is not verified.',
      '550 Administrative prohibition',
    ],
  },
];
