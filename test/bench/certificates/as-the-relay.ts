/** Loaded ahead of a measured process (`--import`), which then collects as the relay does: figures of another heap say little. */
import { keepNewSpaceSmall } from '../../../src/commands/new-space.ts';

keepNewSpaceSmall();
