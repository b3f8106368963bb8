/** The pages, in the order of the rail, each named by the question that it answers. */

import type { Component } from 'svelte';
import type { Section } from '../parts/Sections.svelte';
import { SECTIONS as CONTROL } from '../pages/control/sections';
import { SECTIONS as SETTINGS } from '../pages/settings/sections';
import type { IconName } from './icons';

export interface Page {
  path: string;
  name: string;
  question: string;
  icon: IconName;
  /** Second key after `g`. */
  key: string;
  load: () => Promise<{ default: Component }>;
  /** What it is made of, each part at an address of its own. */
  parts?: Section[];
  /** Segments that may follow its path: an id, or one of its parts. */
  below?: number;
}

export const PAGES: Page[] = [
  {
    path: '/',
    name: 'Home',
    question: 'Is it healthy, and what does it cost right now?',
    icon: 'home',
    key: 'h',
    load: () => import('../pages/home/Home.svelte'),
  },
  {
    path: '/requests',
    name: 'Requests',
    question: 'What happened?',
    icon: 'requests',
    key: 'r',
    load: () => import('../pages/requests/Requests.svelte'),
    below: 1,
  },
  {
    path: '/sessions',
    name: 'Sessions',
    question: 'What did this conversation do?',
    icon: 'sessions',
    key: 'i',
    load: () => import('../pages/sessions/Sessions.svelte'),
    below: 1,
  },
  {
    path: '/costs',
    name: 'Costs',
    question: 'Who spends what?',
    icon: 'costs',
    key: 'c',
    load: () => import('../pages/costs/Costs.svelte'),
  },
  {
    path: '/performance',
    name: 'Performance',
    question: 'Are we slow, or are they?',
    icon: 'performance',
    key: 'p',
    load: () => import('../pages/performance/Performance.svelte'),
  },
  {
    path: '/compare',
    name: 'Compare',
    question: 'Which of two is better?',
    icon: 'compare2',
    key: 'x',
    load: () => import('../pages/compare/Compare.svelte'),
  },
  {
    path: '/playground',
    name: 'Playground',
    question: 'What would they say?',
    icon: 'playground',
    key: 'y',
    load: () => import('../pages/playground/Playground.svelte'),
  },
  {
    path: '/control',
    name: 'Control',
    question: 'What rules are in force?',
    icon: 'control',
    key: 'o',
    load: () => import('../pages/control/Control.svelte'),
    parts: CONTROL,
    below: 1,
  },
  {
    path: '/settings',
    name: 'Settings',
    question: 'Who can do what, and where does data go?',
    icon: 'settings',
    key: 's',
    load: () => import('../pages/settings/Settings.svelte'),
    parts: SETTINGS,
    below: 1,
  },
  {
    path: '/connect',
    name: 'Connect',
    question: 'How does an application get here?',
    icon: 'connect',
    key: 'n',
    load: () => import('../pages/connect/Connect.svelte'),
  },
];

/** The page of a path; `/requests/<id>` is the page of requests with one of them open. */
export function pageOf(path: string): Page | null {
  const segments = path.split('/').filter(Boolean);
  const page = PAGES.find((one) => one.path === `/${segments[0] ?? ''}`) ?? null;
  return page && segments.length <= 1 + (page.below ?? 0) ? page : null;
}
