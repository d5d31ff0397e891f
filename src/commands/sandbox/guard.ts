/** Loaded before everything else in the relay and in each of its threads. */
import { syncBuiltinESMExports } from 'node:module';

syncBuiltinESMExports();
