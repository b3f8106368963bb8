/**
 * The keyboard map. A page registers what its keys do while it is in view; `?` shows what holds at
 * the moment. A key is one character, a name (`Enter`), or two characters after one another (`g r`).
 * Keys of modifiers begin with `mod+` (⌘ on Macs, Ctrl elsewhere).
 */

import { untrack } from 'svelte';

export interface Binding {
  keys: string;
  does: string;
  run: (event: KeyboardEvent) => void;
  /** Also while a text is being entered. */
  inFields?: boolean;
}

/** How long after `g` the second key counts. */
const SEQUENCE_MS = 1_200;

class Keys {
  groups = $state.raw<{ name: string; bindings: Binding[]; above: boolean }[]>([]);
  #first: { key: string; at: number } | null = null;

  constructor() {
    addEventListener('keydown', (event) => this.#pressed(event));
  }

  /**
   * Until the returned function is called. Of groups that know the same key, one that lies above is
   * asked first, and then the latest.
   */
  add(name: string, bindings: Binding[], above = false): () => void {
    const group = { name, bindings, above };
    // Effects add groups; they must not depend on those of others.
    untrack(() => (this.groups = [...this.groups, group]));
    return () => untrack(() => (this.groups = this.groups.filter((one) => one !== group)));
  }

  #pressed(event: KeyboardEvent) {
    if (event.defaultPrevented || event.isComposing) return;
    const key = spelled(event);
    const before = this.#first;
    this.#first = null;
    const isSequence = before && performance.now() - before.at < SEQUENCE_MS;
    const binding =
      (isSequence && this.#find(`${before.key} ${key}`)) || this.#find(key);
    if (key === 'Enter' && isActed(event.target) && !binding?.inFields) return;
    if (binding && (binding.inFields || !isField(event.target))) {
      event.preventDefault();
      binding.run(event);
    } else if (key === 'Escape' && isField(event.target)) {
      // Out of a field, so that keys count again.
      (event.target as HTMLElement).blur();
    } else if (!isField(event.target) && key.length === 1) {
      this.#first = { key, at: performance.now() };
    }
  }

  #find(keys: string): Binding | undefined {
    const latest = this.groups.toReversed().toSorted((a, b) => Number(b.above) - Number(a.above));
    for (const { bindings } of latest) {
      const found = bindings.find((one) => one.keys === keys);
      if (found) return found;
    }
    return undefined;
  }
}

function spelled(event: KeyboardEvent): string {
  const mod = event.metaKey || event.ctrlKey ? 'mod+' : '';
  const alt = event.altKey ? 'alt+' : '';
  const shift = event.shiftKey && (mod || event.key.length > 1) ? 'shift+' : '';
  return mod + alt + shift + (mod ? event.key.toLowerCase() : event.key);
}

function isField(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  const isText = target instanceof HTMLInputElement && !['checkbox', 'radio', 'button'].includes(target.type);
  return isText || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/** What the focus is on has an Enter of its own. */
const isActed = (target: EventTarget | null): boolean => target instanceof Element && target.closest('a[href], button, summary') !== null;

export const keys = new Keys();

const isMac = /mac|iphone|ipad/i.test(navigator.userAgent);

/** How a key is shown to its reader. */
export function shown(key: string): string {
  const names: [string, string][] = [
    ['mod+', isMac ? '⌘' : 'Ctrl '],
    ['shift+', isMac ? '⇧' : 'Shift '],
    ['alt+', isMac ? '⌥' : 'Alt '],
    ['ArrowUp', '↑'],
    ['ArrowDown', '↓'],
    ['ArrowLeft', '←'],
    ['ArrowRight', '→'],
    ['Escape', 'Esc'],
    ['enter', '↵'],
  ];
  const text = names.reduce((text, [name, sign]) => text.replace(name, sign), key);
  return text.replace(/([ ⌘⇧⌥])([a-z])$/, (_, before: string, letter: string) =>
    key.startsWith('mod+') ? before + letter.toUpperCase() : before + letter,
  );
}
