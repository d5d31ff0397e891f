/** What `sealpost seal` was asked for, and what either of its two ways to a certificate answers. */
import type { PathParts } from '../../path.ts';
import { chooseForm, type Cipher, type Profile } from '../../seal/algorithms.ts';

export interface Options {
  readonly from: string;
  readonly to: readonly string[];
  readonly outDir?: string;
  readonly cert?: string;
  readonly profile?: Profile;
  readonly cipher?: Cipher;
  readonly subject?: string;
}

export interface Site {
  readonly parts: Pick<PathParts, 'hostname' | 'rules' | 'addressBook' | 'chooseForm' | 'signers'>;
  readonly close: () => Promise<void> | void;
}

export const formFor =
  ({ profile, cipher }: Options, standard: Profile): PathParts['chooseForm'] =>
  (certificates, said) => {
    const form = chooseForm(certificates, profile ?? standard, profile === undefined ? said : {});
    return cipher === undefined ? form : { ...form, cipher };
  };
