/** Byte streams for tests of the message stage: whole, or cut into chunks of given sizes as packets cut them. */

export async function* chunked(octets: Buffer | string, sizes: readonly number[] = []): AsyncGenerator<Buffer> {
  let rest = Buffer.from(octets);
  for (let turn = 0; rest.length > 0; turn++) {
    const size = Math.max(1, sizes[turn % Math.max(1, sizes.length)] ?? rest.length);
    yield rest.subarray(0, size);
    rest = rest.subarray(size);
  }
}

export async function collect(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}
