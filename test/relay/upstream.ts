import { converse, type Replies, scriptedUpstream, type Transcript } from '../delivery/peer.ts';
import type { Owner } from './site.ts';

export interface Delivery {
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
      const transcript: Transcript = { commands: [], messages: [], recipients: [] };
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

function deliveriesOf({ recipients = [], messages }: Transcript): Delivery[] {
  return messages.map((message, at) => ({
    recipient: /<(.*?)>/.exec(recipients[at] ?? '')?.[1] ?? '',
    octets: message.subarray(0, -'.\r\n'.length),
  }));
}
