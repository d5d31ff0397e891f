/** BouncyCastle as a reader: BouncyReader.java is compiled once and answers request after request, one virtual machine for all. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Reader, Readers } from './fixtures.ts';
import { findProgram, missingPrograms, succeed } from './programs.ts';
import { cmsOf, type MailProgram, type MailProgramKind } from './readers.ts';
import { type Signed, type Verifier } from './verifiers.ts';

const JARS = ['bcpkix', 'bcprov', 'bcutil'].map((name) => `/usr/share/java/${name}.jar`);
const SOURCE = new URL('BouncyReader.java', import.meta.url).pathname;

/** Reads and verifies, both by one virtual machine. */
export const bouncyCastle: Omit<MailProgramKind, 'start'> & { start(readers: Readers): Promise<MailProgram & Verifier> } = {
  name: 'BouncyCastle',
  missing() {
    const absent = JARS.find((jar) => !existsSync(jar));
    if (absent !== undefined) return `BouncyCastle is not installed (Debian package libbcmail-java)`;
    return missingPrograms({ java: 'default-jre-headless', javac: 'default-jdk-headless' });
  },
  async start({ ca }) {
    const dir = await mkdtemp(join(tmpdir(), 'bouncy-'));
    await succeed('javac', ['-d', dir, '-cp', JARS.join(':'), SOURCE]);
    const flags = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xmx512m'];
    const child = spawn(findProgram('java') ?? 'java', [...flags, '-cp', [dir, ...JARS].join(':'), 'BouncyReader'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    let count = 0;
    let previous: Promise<unknown> = Promise.resolve();
    const ask = async (request: string): Promise<string> => {
      child.stdin.write(`${request}\n`);
      const answer = await answers.next();
      return answer.done === true ? 'no the virtual machine ended' : answer.value;
    };
    /** One request at a time: answers carry no number. */
    const answered = async (request: readonly string[], output: string): Promise<Buffer> => {
      const turn = previous.then(() => ask([...request, output].join('\t')));
      previous = turn;
      const answer = await turn;
      if (answer !== 'ok') throw new Error(`BouncyCastle: ${answer}`);
      return readFile(output);
    };
    return {
      name: 'BouncyCastle',
      async open(message, reader) {
        const number = ++count;
        const [input, output] = [join(dir, `${number}.p7m`), join(dir, `${number}.out`)];
        await writeFile(input, cmsOf(message));
        return answered([reader.certificate, reader.key, input], output);
      },
      async verify({ signature, beside }: Signed, signer: Reader) {
        const number = ++count;
        const [input, content, output] = [join(dir, `${number}.p7s`), join(dir, `${number}.signed`), join(dir, `${number}.out`)];
        await writeFile(input, signature);
        if (beside !== undefined) await writeFile(content, beside);
        return answered(['verify', ca, signer.certificate, input, beside === undefined ? '-' : content], output);
      },
      async close() {
        child.stdin.end();
        await exited;
        await rm(dir, { recursive: true, force: true });
      },
    };
  },
};
