/** The tools: each is an activity of its own name, with one JSON object as its argument. */

import { appendFile, readFile } from 'node:fs/promises';
import { sleep } from '@temporalio/activity';
import { retry, toolContext, toolError } from './outlast';

const STOCK = process.env.STOCK_FILE ?? 'stock.json';
const ORDERS = process.env.STOCK_ORDERS ?? 'stock-orders.txt';

async function stock(): Promise<Record<string, number>> {
  return JSON.parse(await readFile(STOCK, 'utf8'));
}

export async function stock_level({ item }: { item: string }): Promise<{ item: string; count: number }> {
  const counts = await stock();
  if (!Object.hasOwn(counts, item)) throw toolError(`there is no item ${JSON.stringify(item)}`);
  return { item, count: counts[item] };
}

export async function count_stock({ seconds }: { seconds: number }): Promise<number> {
  await sleep(seconds * 1_000); // the interceptor sends heartbeats meanwhile
  return Object.values(await stock()).reduce((sum, count) => sum + count, 0);
}

export async function order_stock({ item, count }: { item: string; count: number }): Promise<string> {
  if (count < 1) throw retry(`count is ${count}; order at least one`);
  const { idempotencyKey, tenant } = toolContext();
  await appendFile(ORDERS, `${tenant} ${idempotencyKey} ${count} ${item}\n`);
  return `ordered ${count} of ${item}`;
}
