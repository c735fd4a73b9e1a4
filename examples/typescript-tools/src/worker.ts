/** Serves the tools on the task queue `typescript-tools`, until Ctrl-C. */

import { NativeConnection, Worker } from '@temporalio/worker';
import { outlastInterceptors } from './outlast';
import * as activities from './tools';

async function main(): Promise<void> {
  const connection = await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS ?? 'localhost:7233' });
  const worker = await Worker.create({
    connection,
    namespace: process.env.TEMPORAL_NAMESPACE ?? 'default',
    taskQueue: process.env.TASK_QUEUE ?? 'typescript-tools',
    activities,
    interceptors: { activity: outlastInterceptors },
  });
  await worker.run();
  await connection.close();
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
