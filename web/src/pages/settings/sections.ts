/** What is set for the account as a whole, each part named by its question. */

import type { Section } from '../../parts/Sections.svelte';

export const SECTIONS: Section[] = [
  { id: 'you', name: 'You', question: 'Who is signed in?', load: () => import('./You.svelte') },
  { id: 'users', name: 'Users', question: 'Who may sign in?', load: () => import('./Users.svelte') },
  { id: 'revisions', name: 'Revisions', question: 'Who changed what, and how was it before?', load: () => import('./Revisions.svelte') },
  { id: 'trail', name: 'Audit trail', question: 'Who did what?', load: () => import('./Trail.svelte') },
  { id: 'exports', name: 'Exports', question: 'Where do records go?', load: () => import('./Exports.svelte') },
  { id: 'storage', name: 'Storage', question: 'How much room is there?', load: () => import('./Storage.svelte') },
];
