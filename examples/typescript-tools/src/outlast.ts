/** What every tool of outlast needs: its context, its errors, and heartbeats. Copy this file. */

import { AsyncLocalStorage } from 'node:async_hooks';
import { Context } from '@temporalio/activity';
import { ApplicationFailure, defaultPayloadConverter, TemporalFailure, type Payload } from '@temporalio/common';
import type { ActivityExecuteInput, ActivityInboundCallsInterceptor, ActivityInterceptors, Next } from '@temporalio/worker';

const HEARTBEAT_MS = 5_000;

/** The attempts of a call that only reads. Temporal allows more, because workers hand calls back. */
const MAX_ATTEMPTS = 4;

export interface ToolContext {
  /** The id of the run. */
  workflowId: string;
  /** The tenant of the run. */
  tenant: string;
  /** The turn and the number of the call in it, such as `3.1`. */
  callId: string;
  /** The same in all attempts of a call. Pass it to the system that the tool changes. */
  idempotencyKey: string;
}

const contexts = new AsyncLocalStorage<ToolContext>();

/** Return the context of the current call. */
export function toolContext(): ToolContext {
  const context = contexts.getStore();
  if (context === undefined) throw new Error('there is no call: register outlastInterceptors with the worker');
  return context;
}

/** An error that the model reads. The run continues, and the call is not retried. */
export function toolError(message: string): ApplicationFailure {
  return ApplicationFailure.create({ type: 'ToolError', message, nonRetryable: true });
}

/** An error that the model reads to try again, for example with other arguments. */
export function retry(message: string): ApplicationFailure {
  return ApplicationFailure.create({ type: 'Retry', message, nonRetryable: true });
}

class ToolCalls implements ActivityInboundCallsInterceptor {
  constructor(private readonly context: Context) {}

  async execute(input: ActivityExecuteInput, next: Next<ActivityInboundCallsInterceptor, 'execute'>): Promise<unknown> {
    const { info } = this.context;
    // Only a run has the approvals of people: a call from elsewhere is rejected.
    if (info.workflowType !== 'AgentWorkflow') throw toolError(`${info.activityType}: only a run may call a tool`);
    const tool: ToolContext = {
      workflowId: info.workflowExecution?.workflowId ?? '',
      tenant: text(input.headers['outlast-tenant']) || 'default',
      callId: info.activityId,
      idempotencyKey: text(input.headers['outlast-idempotency-key']),
    };
    const timer = setInterval(() => this.context.heartbeat(), HEARTBEAT_MS);
    try {
      return await contexts.run(tool, () => next(input));
    } catch (error) {
      if (error instanceof Error && !(error instanceof TemporalFailure) && info.attempt >= MAX_ATTEMPTS) {
        throw ApplicationFailure.create({ type: error.name, message: error.message, nonRetryable: true });
      }
      throw error;
    } finally {
      clearInterval(timer);
    }
  }
}

function text(payload: Payload | undefined): string {
  return payload === undefined ? '' : defaultPayloadConverter.fromPayload<string>(payload);
}

/** Pass this to `Worker.create` as `interceptors.activity`. */
export const outlastInterceptors = [(context: Context): ActivityInterceptors => ({ inbound: new ToolCalls(context) })];
