# A namespace of Temporal Cloud for outlast: its search attributes, a service account for the workers, and its key.

terraform {
  required_version = ">= 1.5"
  required_providers {
    temporalcloud = {
      source  = "temporalio/temporalcloud"
      version = "~> 1.5"
    }
  }
}

variable "name" {
  type        = string
  default     = "agents"
  description = "Name of the namespace. Temporal Cloud appends the id of the account."
}

variable "region" {
  type        = string
  default     = "aws-eu-west-1"
  description = "Region with its cloud. Temporal's controller starts serverless workers only in the same cloud."
}

variable "retention_days" {
  type        = number
  default     = 30
  description = "How long ended runs can be read."
}

variable "keys" {
  type        = map(string)
  description = "Keys of the workers by name, and when each expires, such as {a = \"2027-03-01T00:00:00Z\"}."
}

variable "current_key" {
  type        = string
  default     = "a"
  description = "The key that the output api_key returns."
}

# Key from TEMPORAL_CLOUD_API_KEY.
provider "temporalcloud" {}

resource "temporalcloud_namespace" "agents" {
  name           = var.name
  regions        = [var.region]
  retention_days = var.retention_days
  api_key_auth   = true

  # Without it, one tenant's steps delay those of all others. Temporal bills it.
  fairness = {
    task_queue_fairness_enabled = true
  }

  namespace_lifecycle = {
    enable_delete_protection = true
  }
}

# Workers cannot create them on Temporal Cloud.
resource "temporalcloud_namespace_search_attribute" "agents" {
  for_each = {
    AgentName         = "keyword"
    AgentTenant       = "keyword"
    AgentStatus       = "keyword"
    AgentTurns        = "int"
    AgentCostUsd      = "double"
    AgentAudience     = "keyword_list"
    AgentWaitingSince = "datetime"
  }

  namespace_id = temporalcloud_namespace.agents.id
  name         = each.key
  type         = each.value
}

resource "temporalcloud_service_account" "workers" {
  name        = "${var.name}-workers"
  description = "Workers, demand service, gateway and promotion of outlast"

  # It can reach this namespace only, and cannot change its settings.
  namespace_scoped_access = {
    namespace_id = temporalcloud_namespace.agents.id
    permission   = "write"
  }
}

# Two at a time during a rotation.
resource "temporalcloud_apikey" "workers" {
  for_each = var.keys

  display_name = "${var.name}-workers-${each.key}"
  owner_type   = "service-account"
  owner_id     = temporalcloud_service_account.workers.id
  expiry_time  = each.value
}

output "address" {
  value       = temporalcloud_namespace.agents.endpoints.grpc_address
  description = "TEMPORAL_ADDRESS"
}

output "namespace" {
  value       = temporalcloud_namespace.agents.id
  description = "TEMPORAL_NAMESPACE"
}

output "api_key" {
  value       = temporalcloud_apikey.workers[var.current_key].token
  sensitive   = true
  description = "TEMPORAL_API_KEY"
}
