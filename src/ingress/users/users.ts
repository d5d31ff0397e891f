import type { Mailbox, Submitter } from '../../message/envelope.ts';

/** Who may authenticate, and what each may do. */
export interface User extends Submitter {
  /** MAIL FROM; null is the null reverse-path. */
  maySend(sender: Mailbox | null): boolean;
  mayReach(recipient: Mailbox): boolean;
  /** Messages in any stretch of time; null where there is no bound of the user's own. */
  readonly rate: { readonly count: number; readonly per: number } | null;
}
export type Login =
  | {
      readonly kind: 'accepted';
      readonly user: User;
      /** The same login as the users file has it now: refused where the user is gone, or the password another one. */
      readonly again: () => Login;
    }
  | { readonly kind: 'refused' }
  /** The users file cannot be read, or too many log in at once: 454 4.7.0. */
  | { readonly kind: 'unavailable' };
export interface Users {
  /** Never rejects. Unknown and known names cost the same. `client` is the peer address, for the count of failures. */
  login(name: string, password: string, client: string): Promise<Login>;
  /** `fingerprint`: SHA-256 of the certificate in lower-case hex. Never rejects. */
  byCertificate(fingerprint: string): Promise<Login>;
  close(): void;
}
