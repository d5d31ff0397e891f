/** What a stranger, a disk or a slip makes of octets that were right: flipped, inserted, dropped, doubled, cut. */
import * as fc from 'fast-check';

export type Mutation = (octets: Buffer) => Buffer;

const place = fc.double({ min: 0, max: 1, noNaN: true });
const at = (octets: Buffer, where: number): number => Math.floor(where * octets.length);
const splice = (octets: Buffer, from: number, to: number, put: Uint8Array): Buffer =>
  Buffer.concat([octets.subarray(0, from), put, octets.subarray(to)]);

const flip = fc.tuple(place, fc.nat(255)).map(([where, octet]): Mutation => {
  return (octets) => splice(octets, at(octets, where), at(octets, where) + 1, Buffer.of(octet));
});
const insert = fc.tuple(place, fc.uint8Array({ minLength: 1, maxLength: 4 })).map(([where, put]): Mutation => {
  return (octets) => splice(octets, at(octets, where), at(octets, where), put);
});
const drop = fc.tuple(place, fc.integer({ min: 1, max: 8 })).map(([where, count]): Mutation => {
  return (octets) => splice(octets, at(octets, where), at(octets, where) + count, Buffer.alloc(0));
});
const double = fc.tuple(place, fc.integer({ min: 1, max: 40 })).map(([where, count]): Mutation => {
  return (octets) => splice(octets, at(octets, where), at(octets, where), octets.subarray(at(octets, where), at(octets, where) + count));
});
const cut = place.map(
  (where): Mutation =>
    (octets) =>
      octets.subarray(0, at(octets, where)),
);

/** One to four changes, one after another. */
export const mutations = fc.array(fc.oneof({ arbitrary: flip, weight: 4 }, insert, drop, double, cut), { minLength: 1, maxLength: 4 }).map(
  (list): Mutation =>
    (octets) =>
      list.reduce((made, change) => change(made), octets),
);

/** Every octet changed once in each of these ways, every cut: for what is small and must never pass changed. */
export function* everyOctet(octets: Buffer, changes: readonly number[] = [0x01, 0x80, 0xff]): Generator<Buffer> {
  for (let index = 0; index < octets.length; index++) {
    for (const change of changes) {
      const copy = Buffer.from(octets);
      copy[index] = (copy[index] ?? 0) ^ change;
      yield copy;
    }
  }
  for (let length = 0; length < octets.length; length++) yield octets.subarray(0, length);
}
