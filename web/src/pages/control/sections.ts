/** What can be ruled, each named by its question. */

import type { Section } from '../../parts/Sections.svelte';

export const SECTIONS: Section[] = [
  { id: 'gateways', name: 'Gateways', question: 'Which doors are there?', load: () => import('./Gateways.svelte') },
  { id: 'targets', name: 'Targets', question: 'Where do requests go, and where if that fails?', load: () => import('./Targets.svelte') },
  { id: 'limits', name: 'Limits & budgets', question: 'How much may pass?', load: () => import('./Limits.svelte') },
  { id: 'tokens', name: 'Tokens', question: 'Who may come in?', load: () => import('./Tokens.svelte') },
  { id: 'keys', name: 'Provider keys', question: 'What opens the providers?', load: () => import('./Keys.svelte') },
  { id: 'cache', name: 'Cache', question: 'What is answered from memory?', load: () => import('./Cache.svelte') },
  { id: 'prices', name: 'Prices', question: 'What does a token cost?', load: () => import('./Prices.svelte') },
  { id: 'alerts', name: 'Alerts', question: 'Who is told when?', load: () => import('./Alerts.svelte') },
];
