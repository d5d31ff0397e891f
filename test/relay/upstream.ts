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
  const recipients: string[] = [];
  let last = '';
  for (const command of commands) {
    if (command.startsWith('RCPT')) last = /<(.*)>/.exec(command)?.[1] ?? '';
    if (command === 'DATA') recipients.push(last);
  }
  return messages.map((message, at) => ({ recipient: recipients[at] ?? '', octets: message.subarray(0, -'.\r\n'.length) }));
}
