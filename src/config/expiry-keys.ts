/** `certificates.expiry`: who is told of certificates that end. */
import { z } from 'zod';
import { key } from '../document/schema.ts';
import { duration, oneOf } from './values.ts';

const MAX_STEPS = 10;

export const expiry = {
  within: key(duration.prefault('30d'), {
    meaning: 'How long before its end a certificate is due: for the summary and `sealpost certs expiring`.',
    unit: 'duration',
    example: '45d',
  }),
  summary: key(oneOf('changes', 'daily', 'off').prefault('changes'), {
    meaning:
      'When the operator is sent a summary, sealed: on days with something new and weekly while something is due, every day, or never.',
    unit: 'word',
    example: 'daily',
  }),
  notify: key(z.array(duration).max(MAX_STEPS).prefault([]), {
    meaning: 'How long before its end the reader of a certificate is told, sealed; empty: not at all.',
    unit: 'list',
    example: '[30d, 7d]',
  }),
};
