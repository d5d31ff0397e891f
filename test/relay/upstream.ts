import { converse, type Replies, scriptedUpstream, type Transcript } from '../delivery/peer.ts';
import type { Owner } from './site.ts';

export interface Delivery {
  /** What MAIL said; '' is the null sender. */
  readonly sender: string;
  readonly recipient: string;
  /** What followed DATA, without the dot that ends it. */
  readonly octets: Buffer;
}

export interface KeepingUpstream {
  readonly port: number;
  /** Every message whose end was said so far, whatever was answered. */
  deliveries(): Delivery[];
}

/** An upstream that keeps what it is given; `replies` may be replaced, also while it runs, or follow from what was said so far. */
export async function keepingUpstream(
  owner: Owner,
  replies: Replies | ((said: Transcript) => Replies) = {},
  port = 0,
): Promise<KeepingUpstream> {
  const transcripts: Transcript[] = [];
  const upstream = await scriptedUpstream(
    (peer) => {
      const transcript: Transcript = { commands: [], messages: [], envelopes: [] };
      transcripts.push(transcript);
      return converse(peer, typeof replies === 'function' ? replies(transcript) : replies, transcript);
    },
    { port },
  );
  owner.after(() => upstream[Symbol.asyncDispose]());
  return {
    port: upstream.port,
    deliveries: () => transcripts.flatMap(deliveriesOf),
  };
}

function deliveriesOf({ envelopes = [], messages }: Transcript): Delivery[] {
  return messages.map((message, at) => ({
    sender: pathOf(envelopes[at]?.mail),
    recipient: pathOf(envelopes[at]?.rcpt),
    octets: message.subarray(0, -'.\r\n'.length),
  }));
}

/** What stands between < and > of a command. */
const pathOf = (command = ''): string => /<(.*?)>/.exec(command)?.[1] ?? '';
