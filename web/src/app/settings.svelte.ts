/** What a reader likes, kept in this browser: it changes how things look, never what they say. */

export type Theme = 'system' | 'light' | 'dark';
export type Density = 'comfortable' | 'compact';

const read = (name: string): string | null => {
  try {
    return localStorage.getItem(`isango.${name}`);
  } catch {
    return null;
  }
};

const write = (name: string, value: string) => {
  try {
    localStorage.setItem(`isango.${name}`, value);
  } catch {
    // A browser that keeps nothing forgets it with the page.
  }
};

const one = <T extends string>(text: string | null, of: readonly T[], otherwise: T): T =>
  of.find((known) => known === text) ?? otherwise;

const THEMES = ['system', 'light', 'dark'] as const;
const DENSITIES = ['comfortable', 'compact'] as const;

class Settings {
  theme = $state<Theme>(one(read('theme'), THEMES, 'system'));
  density = $state<Density>(one(read('density'), DENSITIES, 'comfortable'));
  #prefersDark = matchMedia('(prefers-color-scheme: dark)');
  #systemIsDark = $state(this.#prefersDark.matches);

  isDark = $derived(this.theme === 'dark' || (this.theme === 'system' && this.#systemIsDark));

  constructor() {
    this.#prefersDark.addEventListener('change', (event) => (this.#systemIsDark = event.matches));
  }

  setTheme(theme: Theme) {
    this.theme = theme;
    write('theme', theme);
  }

  /** Light to dark or back; system when that is what the system has. */
  toggleTheme() {
    const dark = !this.isDark;
    this.setTheme(dark === this.#systemIsDark ? 'system' : dark ? 'dark' : 'light');
  }

  toggleDensity() {
    this.density = this.density === 'compact' ? 'comfortable' : 'compact';
    write('density', this.density);
  }
}

export const settings = new Settings();

/** Column choices of tables by name, as text. */
export const columnsOf = (table: string): string => read(`columns.${table}`) ?? '';
export const keepColumns = (table: string, text: string) => write(`columns.${table}`, text);

/** The key of metadata that makes requests a session. */
export const sessionKey = (): string => read('session-key') ?? '';
export const keepSessionKey = (key: string) => write('session-key', key);
