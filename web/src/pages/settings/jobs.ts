/** Exports as a reader sees them, and as a form makes them. */

import type { JobView, NewJob } from '../../api';

export const DATASETS = [
  { id: 'ai_gateway_events', name: 'records' },
  { id: 'audit_logs', name: 'the audit trail' },
] as const;

export interface JobTold {
  sign: string;
  word: string;
  tone: 'ok' | 'warn' | 'bad' | 'dim';
  /** More waits than the next batch may take. */
  isBehind: boolean;
}

/** Records of a batch, where a job says nothing else. */
const BATCH = 100_000;

export function jobTold(job: Pick<JobView, 'enabled' | 'error_message' | 'isango' | 'max_upload_records'>): JobTold {
  const { lag_records, buried_batches, lost_records } = job.isango;
  const isBehind = lag_records > (job.max_upload_records || BATCH);
  const told = (sign: string, word: string, tone: JobTold['tone']): JobTold => ({ sign, word, tone, isBehind });
  if (!job.enabled) return told('‖', 'paused', 'dim');
  if (job.error_message) return told('✕', 'fails, and tries again', 'bad');
  if (lost_records > 0) return told('▲', 'goes on, and lacks records', 'bad');
  if (buried_batches > 0) return told('▲', 'goes on, and laid some aside', 'warn');
  return isBehind ? told('▲', 'falls behind', 'warn') : told('●', 'goes on', 'ok');
}

export interface JobForm {
  name: string;
  dataset: (typeof DATASETS)[number]['id'];
  destination: string;
  filter: string;
  fields: string;
}

export const blankJob = (): JobForm => ({ name: '', dataset: 'ai_gateway_events', destination: '', filter: '', fields: '' });

/** The job that a form describes; it begins at once. */
export function jobOf({ name, dataset, destination, filter, fields }: JobForm): NewJob {
  const named = fields.split(',').map((one) => one.trim()).filter(Boolean);
  return {
    destination_conf: destination.trim(),
    dataset,
    enabled: true,
    ...(name.trim() && { name: name.trim() }),
    ...(filter.trim() && dataset !== 'audit_logs' && { filter: filter.trim() }),
    ...(named.length > 0 && { output_options: { field_names: named } }),
  };
}
