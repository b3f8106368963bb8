/** Where the resources of an account are. */

export const account = (id: string): string => `/accounts/${encodeURIComponent(id)}`;
export const own = (id: string): string => `${account(id)}/isango`;
export const gateway = (accountId: string, id: string): string =>
  `${account(accountId)}/ai-gateway/gateways/${encodeURIComponent(id)}`;
