/** How many waits have taken longer than a patience. It does not end them. */
export class Overdue {
  readonly #patience: number;
  readonly #onChange: () => void;
  #count = 0;

  /** `patience`: milliseconds. `onChange` is called when one becomes overdue, and when one that was has ended. */
  constructor(patience: number, onChange: () => void) {
    this.#patience = patience;
    this.#onChange = onChange;
  }

  get count(): number {
    return this.#count;
  }

  /** Begins to wait; what it answers ends that, and may be called again. */
  begin(): () => void {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#count++;
      this.#onChange();
    }, this.#patience);
    return () => {
      clearTimeout(timer);
      if (!late) return;
      late = false;
      this.#count--;
      this.#onChange();
    };
  }
}
