/** Reads a column as what the STRICT schema makes it. Throws where it is not: the statement and the code disagree. */
import type { SQLOutputValue } from 'node:sqlite';
import { SealpostError } from '../errors.ts';

export type Row = Readonly<Record<string, SQLOutputValue>>;

export function integer(row: Row, column: string): number {
  const value = row[column];
  return typeof value === 'number' ? value : unexpected(column);
}

export function integerOrNull(row: Row, column: string): number | null {
  return row[column] === null ? null : integer(row, column);
}

export function text(row: Row, column: string): string {
  const value = row[column];
  return typeof value === 'string' ? value : unexpected(column);
}

export function textOrNull(row: Row, column: string): string | null {
  return row[column] === null ? null : text(row, column);
}

export function blob(row: Row, column: string): Uint8Array<ArrayBuffer> {
  const value = row[column];
  return value instanceof Uint8Array && value.buffer instanceof ArrayBuffer
    ? new Uint8Array(value.buffer, value.byteOffset, value.length)
    : unexpected(column);
}

function unexpected(column: string): never {
  throw new SealpostError('internal', { detail: `the column ${column} is missing or of another type` });
}
