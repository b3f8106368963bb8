/** What was copied just now, for a moment. */
export class Copied {
  what = $state('');
  #until = 0;

  /** Only pages of https, or of this machine, may copy; elsewhere nothing is said to be copied. */
  async copy(what: string, text: string) {
    if (!window.isSecureContext) return;
    await navigator.clipboard.writeText(text);
    this.what = what;
    clearTimeout(this.#until);
    this.#until = window.setTimeout(() => (this.what = ''), 1_500);
  }
}
