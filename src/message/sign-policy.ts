/** How a message is signed before it is sealed. */
export interface SignPolicy {
  /** A name below `identities` of the configuration. */
  readonly identity: string;
  /** `detached`: multipart/signed; `opaque`: the text inside the signature. */
  readonly form: 'detached' | 'opaque';
  /** `none`: the entity as it is. `7bit`: 8-bit parts encoded first, as RFC 8551 §3.1.3 wants it for gateways on the way. */
  readonly recode: 'none' | '7bit';
}
