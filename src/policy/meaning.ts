/** Keys of one rule that do not go together: a key that would do nothing is a misunderstanding, and is told as a fault. */
import { type Condition } from './condition.ts';
import type { WrittenRule } from './schema.ts';
import { signedAuthors } from './sign.ts';

export interface KeyFault {
  readonly key: keyof WrittenRule;
  readonly wrong: string;
  readonly mend: string;
}

type Key = keyof WrittenRule;

const ofSealing: readonly Key[] = ['subject', 'from', 'message_id', 'profile', 'cipher', 'key_transport', 'sign'];
/** `domain_certificate` beside pass and refuse is judged apart: their conditions may ask for certificates. */
const meaningless: Readonly<Record<WrittenRule['then'], readonly Key[]>> = {
  seal: [],
  hold: ['missing', 'unavailable', 'text'],
  pass: [...ofSealing, 'missing', 'unavailable', 'text'],
  refuse: [...ofSealing, 'missing', 'unavailable', 'envelope_from', 'archive'],
};

export function faultBetweenKeys(rule: WrittenRule): KeyFault | undefined {
  const out = { mend: 'take it out' };
  const useless = meaningless[rule.then].find((key) => rule[key] !== undefined);
  if (useless !== undefined) return { key: useless, wrong: `means nothing beside then: ${rule.then}`, ...out };
  if (rule.then === 'pass' && rule.when === undefined)
    return {
      key: 'when',
      wrong: 'is missing: the rule would pass all mail in clear',
      mend: 'when wants a condition: { sender: "news@clinic.example" }',
    };
  if (rule.then === 'pass' || rule.then === 'refuse') {
    if (rule.domain_certificate !== undefined && (rule.when === undefined || !asksForCertificates(rule.when)))
      return {
        key: 'domain_certificate',
        wrong: `means nothing beside then: ${rule.then}, for no condition asks for certificates`,
        ...out,
      };
    return undefined;
  }
  if (rule.subject === undefined) {
    const mend = 'subject: keep shows the original to everybody on the way; subject: { replace: "New message [{queue_id}]" } does not';
    return { key: 'subject', wrong: 'is missing', mend };
  }
  return faultOfSealing(rule);
}

function faultOfSealing(rule: WrittenRule): KeyFault | undefined {
  if (rule.text !== undefined && rule.missing === 'hold')
    return { key: 'text', wrong: 'means nothing beside missing: hold, for nothing is refused', mend: 'take it out' };
  if (rule.profile === 'strict') {
    if (rule.cipher !== undefined && rule.cipher !== 'aes-256-gcm')
      return { key: 'cipher', wrong: 'is not what profile: strict says', mend: 'take one of the two out' };
    if (rule.key_transport === 'rsaes-pkcs1')
      return { key: 'key_transport', wrong: 'is not what profile: strict says', mend: 'take one of the two out' };
  }
  if (rule.sign !== undefined && signedAuthors(rule) === undefined) {
    const mend = 'from: { replace: "forms@clinic.example" }, or when: { header_from: forms@clinic.example }, without *';
    return { key: 'sign', wrong: 'does not say for which From it signs', mend };
  }
  return undefined;
}

function asksForCertificates(when: Condition): boolean {
  if (when.kind === 'certificate' || when.kind === 'sealed') return true;
  if (when.kind === 'not') return asksForCertificates(when.of);
  return (when.kind === 'all' || when.kind === 'any') && when.of.some(asksForCertificates);
}
