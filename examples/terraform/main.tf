# A gateway, its provider key, its limits and its exports on Isango, with Cloudflare's provider.
# Which field is which of Isango's stands in README.md.

terraform {
  required_version = ">= 1.6"
  required_providers {
    cloudflare = {
      source  = "cloudflare/cloudflare"
      version = "~> 5.22"
    }
    # For what Cloudflare's provider has no resource of: provider keys, and Isango's own settings.
    restapi = {
      source  = "Mastercard/restapi"
      version = "~> 2.0"
    }
  }
}

variable "isango_url" {
  description = "The admin listener, with /client/v4."
  default     = "http://127.0.0.1:8701/client/v4"
}

variable "isango_token" {
  description = "A token with the scopes read and write: isango token create terraform --scope read --scope write"
  sensitive   = true
}

variable "azure_key" {
  description = "The key of the Azure OpenAI resource."
  sensitive   = true
}

variable "logpush_destination" {
  description = "Where records go: a destination_conf of Logpush."
  sensitive   = true
}

locals {
  account = "local"
  own     = "/accounts/${local.account}/isango"
  gateway = "/accounts/${local.account}/ai-gateway/gateways/${cloudflare_ai_gateway.support.id}"
}

provider "cloudflare" {
  base_url  = var.isango_url
  api_token = var.isango_token
}

provider "restapi" {
  uri                  = var.isango_url
  write_returns_object = true
  headers              = { Authorization = "Bearer ${var.isango_token}" }
}

# The gateway, with the limits and budgets that Cloudflare's provider has fields for.
resource "cloudflare_ai_gateway" "support" {
  account_id = local.account
  id         = "support"

  authentication             = true
  collect_logs               = true
  cache_ttl                  = 300
  cache_invalidate_on_update = true

  rate_limiting_interval  = 60
  rate_limiting_limit     = 600
  rate_limiting_technique = "sliding"

  retry_max_attempts = 3
  retry_delay        = 500
  retry_backoff      = "exponential"

  logpush = true

  spend_limits = {
    enabled = true
    rules = [{
      id         = "per-tenant"
      limit_type = "cost"
      limit      = 25
      window     = 86400
      technique  = "fixed"
      metadata   = { tenantId = { mode = "partition" } }
    }]
  }
}

# Limits that only Isango has: tokens by tenant, by the calendar of a time zone.
resource "restapi_object" "settings" {
  path           = "${local.own}/gateways/${cloudflare_ai_gateway.support.id}/settings"
  create_path    = "${local.own}/gateways/${cloudflare_ai_gateway.support.id}/settings"
  create_method  = "PUT"
  read_path      = "${local.own}/gateways/${cloudflare_ai_gateway.support.id}/settings"
  update_path    = "${local.own}/gateways/${cloudflare_ai_gateway.support.id}/settings"
  update_method  = "PUT"
  destroy_path   = "${local.own}/gateways/${cloudflare_ai_gateway.support.id}/settings"
  destroy_method = "PUT"
  destroy_data   = "{}"
  object_id      = cloudflare_ai_gateway.support.id

  data = jsonencode({
    limits = [{
      id        = "tenant-tokens"
      by        = ["metadata.tenantId"]
      unit      = "tokens"
      limit     = 200000
      window    = "day"
      time_zone = "Africa/Johannesburg"
    }]
  })
}

# The key of the provider, which is sealed and never told again. Another secret replaces it.
resource "restapi_object" "azure_key" {
  path         = "${local.gateway}/provider_configs"
  id_attribute = "result/id"

  data = jsonencode({
    provider_slug  = "azure-openai"
    alias          = "default"
    default_config = true
    secret         = var.azure_key
  })

  # What is told of it is a preview; only another secret is a change.
  ignore_all_server_changes = true
}

# Records, delivered to a bucket, sealed where the gateway has a public key.
resource "cloudflare_logpush_job" "records" {
  account_id       = local.account
  dataset          = "ai_gateway_events"
  name             = "support-records"
  destination_conf = var.logpush_destination
  enabled          = true

  # It is told with stars for what may be secret, which would be a change each time.
  lifecycle {
    ignore_changes = [destination_conf]
  }
}

output "base_url" {
  value = "${trimsuffix(var.isango_url, "/client/v4")}/v1/${local.account}/${cloudflare_ai_gateway.support.id}"
}
