/** What a hostile mesh of CAs costs: one verdict in it, as often as a stranger can ask for one. */
import { buildPath, makeCertificateSet } from '../../../src/certificates/path.ts';
import { makeMesh } from '../../certificates/mesh.ts';
import { root } from '../../certificates/pki.ts';

const RUNS = 20;
const SHAPES = [
  { cas: 1000, each: 4 },
  { cas: 60, each: 59 },
] as const;
const NOW = Date.parse('2026-06-01T00:00:00Z');

/** Prints ms for one verdict, the slowest of some, and an ordinary one beside it. */
export async function benchMesh(print: (line: string) => void): Promise<void> {
  for (const { cas, each } of SHAPES) {
    const { leaf, certificates } = makeMesh(cas, each);
    const [anchors, intermediates] = [makeCertificateSet([]), makeCertificateSet(certificates)];
    const verdict = buildPath(leaf, anchors, intermediates, NOW);
    if (verdict.kind === 'trusted') throw new Error('a mesh without an anchor is trusted');
    const times = Array.from({ length: RUNS }, () => timeOf(() => buildPath(leaf, anchors, intermediates, NOW)));
    print(`mesh of ${cas} CAs, ${each} certificates each: ${showTimes(times)}; ${verdict.reason}`);
  }
  const top = root('Top');
  const sub = top.sub('Sub');
  const anna = sub.leaf('anna@clinic.example');
  const [anchors, intermediates] = [makeCertificateSet([top.certificate]), makeCertificateSet([sub.certificate])];
  print(`a path of three: ${showTimes(Array.from({ length: RUNS }, () => timeOf(() => buildPath(anna, anchors, intermediates, NOW))))}`);
}

function timeOf(work: () => unknown): number {
  const begun = performance.now();
  work();
  return performance.now() - begun;
}

function showTimes(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  return `${sorted[Math.floor(sorted.length / 2)]?.toFixed(1)} ms in the middle, ${sorted.at(-1)?.toFixed(1)} ms at worst`;
}
