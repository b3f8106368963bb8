/** Views that everybody has: questions that operators ask each day. */

export interface View {
  name: string;
  filter: string;
  sort?: string;
}

export const BUILT_IN: View[] = [
  { name: 'Errors', filter: 'status:error' },
  { name: 'Slow first token', filter: 'ttft:>2s' },
  { name: 'Most expensive', filter: '', sort: 'cost' },
  { name: 'Without a price', filter: 'cost:unpriced,no_usage' },
  { name: 'Sent more than once', filter: 'attempts:>1' },
  { name: 'Cut streams', filter: 'outcome:upstream_cut,overrun' },
  { name: 'Left by the client', filter: 'outcome:client_left' },
  { name: 'Refused by the gateway', filter: 'outcome:refused' },
  { name: 'From the cache', filter: 'cache:hit,stale' },
];
