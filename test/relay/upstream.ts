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

/** An upstream that keeps what it is given; `replies` may be replaced, also while it runs. */
export async function keepingUpstream(owner: Owner, replies: Replies = {}, port = 0): Promise<KeepingUpstream> {
  const transcripts: Transcript[] = [];
  const upstream = await scriptedUpstream(
    (peer) => {
      const transcript: Transcript = { commands: [], messages: [] };
      transcripts.push(transcript);
      return converse(peer, replies, transcript);
    },
    { port },
  );
  owner.after(() => upstream[Symbol.asyncDispose]());
  return {
    port: upstream.port,
    deliveries: () => transcripts.flatMap(deliveriesOf),
  };
}

/** One transaction a message: the n-th message of a session belongs to the last RCPT in front of its n-th DATA. */
function deliveriesOf({ commands, messages }: Transcript): Delivery[] {
  const envelopes: { readonly sender: string; readonly recipient: string }[] = [];
  let sender = '';
  let recipient = '';
  for (const command of commands) {
    if (command.startsWith('MAIL')) sender = /<(.*)>/.exec(command)?.[1] ?? '';
    if (command.startsWith('RCPT')) recipient = /<(.*)>/.exec(command)?.[1] ?? '';
    if (command === 'DATA') envelopes.push({ sender, recipient });
  }
  return messages.map((message, at) => ({
    ...(envelopes[at] ?? { sender: '', recipient: '' }),
    octets: message.subarray(0, -'.\r\n'.length),
  }));
}
