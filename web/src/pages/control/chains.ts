/** Targets of a gateway as its settings have them, and what follows when one fails. */

import { tabled } from './texts';

export interface Target {
  name: string;
  provider: string;
  resource?: string;
  region?: string;
  models?: Record<string, string>;
  api_version?: string;
  weight?: number;
}

/** A target as a form has it: texts, some of which are lists. */
export interface TargetForm {
  name: string;
  provider: string;
  resource: string;
  region: string;
  models: string;
  api_version: string;
  weight: number | null;
}

type Chain = string[] | { to: string[]; on?: string[] };

export const targetsOf = (settings: Record<string, unknown>): Target[] => (Array.isArray(settings.targets) ? (settings.targets as Target[]) : []);

const chains = (settings: Record<string, unknown>): Record<string, Chain> => (typeof settings.fallback === 'object' && settings.fallback !== null ? (settings.fallback as Record<string, Chain>) : {});

/** Who is asked when it fails, in their order. */
export function standIns(settings: Record<string, unknown>, name: string): string[] {
  const chain = chains(settings)[name];
  return Array.isArray(chain) ? chain : (chain?.to ?? []);
}

/** The settings with another chain for a target; an empty one is none. Its conditions stay. */
export function withStandIns(settings: Record<string, unknown>, name: string, to: string[]): Record<string, unknown> {
  const { [name]: before, ...others } = chains(settings);
  const chain: Chain | null = to.length === 0 ? null : before && !Array.isArray(before) ? { ...before, to } : to;
  const fallback = { ...others, ...(chain && { [name]: chain }) };
  const { fallback: _, ...rest } = settings;
  return Object.keys(fallback).length > 0 ? { ...rest, fallback } : rest;
}

export function formOf(target: Target | null): TargetForm {
  const { name = '', provider = '', resource = '', region = '', models = {}, api_version = '', weight = null } = target ?? {};
  return { name, provider, resource, region, api_version, weight, models: Object.entries(models).map((pair) => pair.join('=')).join(', ') };
}

/** What a form says, on top of what the form does not know. */
export function targetOf(form: TargetForm, before: Target | null): Target {
  const models = Object.fromEntries(Object.entries(tabled(form.models)).map(([name, [model = '']]) => [name, model]));
  const { resource: _, region: __, models: ___, api_version: ____, weight: _____, ...rest } = before ?? { name: '', provider: '' };
  return {
    ...rest,
    name: form.name.trim(),
    provider: form.provider.trim(),
    ...(form.resource.trim() && { resource: form.resource.trim() }),
    ...(form.region.trim() && { region: form.region.trim() }),
    ...(Object.keys(models).length > 0 && { models }),
    ...(form.api_version.trim() && { api_version: form.api_version.trim() }),
    ...(form.weight !== null && { weight: form.weight }),
  };
}

/** A removed target is in no chain any more. */
export function without(settings: Record<string, unknown>, name: string): Record<string, unknown> {
  let left = withStandIns(settings, name, []);
  for (const one of targetsOf(settings)) {
    const to = standIns(left, one.name);
    if (to.includes(name)) left = withStandIns(left, one.name, to.filter((other) => other !== name));
  }
  return { ...left, targets: targetsOf(settings).filter((one) => one.name !== name) };
}

