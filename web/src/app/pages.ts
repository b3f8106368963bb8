/** The pages, in the order of the rail, each named by the question that it answers. */

import type { Component } from 'svelte';
import type { IconName } from './icons';

export interface Page {
  path: string;
  name: string;
  question: string;
  icon: IconName;
  /** Second key after `g`. */
  key: string;
  load: () => Promise<{ default: Component }>;
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
  const first = `/${path.split('/')[1] ?? ''}`;
  const depth = path.split('/').filter(Boolean).length;
  const page = PAGES.find((one) => one.path === first) ?? null;
  return page && (depth <= 1 || (page.path === '/requests' && depth === 2)) ? page : null;
}
