package terraform

import (
	"net/http"
	"testing"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// vaultConfig has apps whose settings refer to secrets: in a vault with roles
// through a user-assigned identity, and in one with access policies, a firewall
// and the app's own identity. The third vault is closed to the network.
const vaultConfig = `
terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}
provider "azurerm" {
  features {}
}
variable "password" {
  type    = string
  default = "first"
}
data "azurerm_client_config" "me" {}
locals {
  group    = azurerm_resource_group.rg.name
  location = azurerm_resource_group.rg.location
  tenant   = data.azurerm_client_config.me.tenant_id
}
resource "azurerm_resource_group" "rg" {
  name     = "rg"
  location = "local"
}
resource "azurerm_service_plan" "plan" {
  name                = "plan"
  resource_group_name = local.group
  location            = local.location
  os_type             = "Linux"
  sku_name            = "Y1"
}
resource "azurerm_user_assigned_identity" "reader" {
  name                = "reader"
  resource_group_name = local.group
  location            = local.location
  tags                = { team = "orders" }
}
resource "azurerm_federated_identity_credential" "pipeline" {
  name                      = "pipeline"
  user_assigned_identity_id = azurerm_user_assigned_identity.reader.id
  issuer                    = "https://token.actions.example.com"
  subject                   = "repo:orders/app:ref:refs/heads/main"
  audience                  = ["api://AzureADTokenExchange"]
}
resource "azurerm_key_vault" "roles" {
  name                       = "tf-roles-kv"
  resource_group_name        = local.group
  location                   = local.location
  tenant_id                  = local.tenant
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  soft_delete_retention_days = 7
  tags                       = { team = "orders" }
}
resource "azurerm_key_vault" "policies" {
  name                       = "tf-policies-kv"
  resource_group_name        = local.group
  location                   = local.location
  tenant_id                  = local.tenant
  sku_name                   = "standard"
  rbac_authorization_enabled = false
  network_acls {
    bypass         = "AzureServices"
    default_action = "Deny"
    ip_rules       = ["127.0.0.1/32"]
  }
}
resource "azurerm_key_vault" "closed" {
  name                          = "tf-closed-kv"
  resource_group_name           = local.group
  location                      = local.location
  tenant_id                     = local.tenant
  sku_name                      = "premium"
  rbac_authorization_enabled    = true
  public_network_access_enabled = false
}
resource "azurerm_key_vault_access_policy" "me" {
  key_vault_id       = azurerm_key_vault.policies.id
  tenant_id          = local.tenant
  object_id          = data.azurerm_client_config.me.object_id
  secret_permissions = ["Get", "List", "Set", "Delete", "Recover", "Purge"]
}
resource "azurerm_key_vault_access_policy" "mail" {
  key_vault_id       = azurerm_key_vault.policies.id
  tenant_id          = local.tenant
  object_id          = azurerm_linux_function_app.mail.identity[0].principal_id
  secret_permissions = ["Get"]
}
resource "azurerm_role_assignment" "me" {
  scope                = azurerm_key_vault.roles.id
  role_definition_name = "Key Vault Secrets Officer"
  principal_id         = data.azurerm_client_config.me.object_id
}
resource "azurerm_role_assignment" "orders" {
  scope                = azurerm_key_vault.roles.id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.reader.principal_id
}
resource "azurerm_key_vault_secret" "password" {
  name            = "db-password"
  key_vault_id    = azurerm_key_vault.roles.id
  value           = var.password
  content_type    = "text/plain"
  expiration_date = "2099-01-01T00:00:00Z"
  tags            = { rotated = "yearly" }
  depends_on      = [azurerm_role_assignment.me]
}
resource "azurerm_key_vault_secret" "smtp" {
  name         = "smtp"
  key_vault_id = azurerm_key_vault.policies.id
  value        = "mail-password"
  depends_on   = [azurerm_key_vault_access_policy.me]
}
resource "azurerm_linux_function_app" "orders" {
  name                            = "orders"
  resource_group_name             = local.group
  location                        = local.location
  service_plan_id                 = azurerm_service_plan.plan.id
  storage_key_vault_secret_id     = "https://tf-roles-kv.vault.localhost/secrets/storage"
  key_vault_reference_identity_id = azurerm_user_assigned_identity.reader.id
  identity {
    type         = "SystemAssigned, UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.reader.id]
  }
  app_settings = {
    DATABASE_PASSWORD = "@Microsoft.KeyVault(VaultName=tf-roles-kv;SecretName=db-password)"
    NEVER_THERE       = "@Microsoft.KeyVault(VaultName=tf-roles-kv;SecretName=never-there)"
  }
  connection_string {
    name  = "Db"
    type  = "SQLAzure"
    value = "@Microsoft.KeyVault(VaultName=tf-roles-kv;SecretName=db-password)"
  }
  site_config {
    application_stack { use_custom_runtime = true }
  }
}
resource "azurerm_linux_function_app" "mail" {
  name                       = "mail"
  resource_group_name        = local.group
  location                   = local.location
  service_plan_id            = azurerm_service_plan.plan.id
  storage_account_name       = "unused"
  storage_account_access_key = "dW51c2Vk"
  identity { type = "SystemAssigned" }
  app_settings = {
    SMTP  = "@Microsoft.KeyVault(VaultName=tf-policies-kv;SecretName=smtp)"
    OTHER = "@Microsoft.KeyVault(VaultName=tf-roles-kv;SecretName=db-password)"
  }
  site_config {
    application_stack { use_custom_runtime = true }
  }
}
`

// appsOnly limits a plan to the apps and what they stand on, which are no vaults.
var appsOnly = []string{"-target=azurerm_linux_function_app.orders", "-target=azurerm_linux_function_app.mail"}

// TestTerraformPlansWhileReferencesFail is the incident that this program exists
// for, with the real provider: apps are stopped, their references fail, and a plan
// is as empty as before.
func TestTerraformPlansWhileReferencesFail(t *testing.T) {
	provider := programs(t)
	p := platformtest.Start(t, platform.Config{Drill: true})
	tf := newWorkspace(t, p, provider, vaultConfig)

	tf.must(t, 0, "apply", "-auto-approve")
	tf.must(t, 0, "plan", "-detailed-exitcode")
	refers(t, p, "orders", "DATABASE_PASSWORD", "Resolved")
	refers(t, p, "orders", "NEVER_THERE", "SecretNotFound")
	refers(t, p, "mail", "SMTP", "Resolved")
	refers(t, p, "mail", "OTHER", "AccessToKeyVaultDenied")

	stopForDays(t, p, "orders", "mail")
	tf.must(t, 0, "plan", "-detailed-exitcode")

	before := refers(t, p, "orders", "DATABASE_PASSWORD", "Resolved")
	tf.must(t, 0, "apply", "-auto-approve", "-var", "password=second")
	platformtest.Until(t, "the new value is what the stopped app would get", func() bool {
		return refers(t, p, "orders", "DATABASE_PASSWORD", "Resolved") != before
	})

	faults(t, p, map[string]any{"vault": "deny", "token": true})
	for _, app := range []string{"orders", "mail"} {
		p.Do(t, http.MethodPost, p.Site(app)+"/config/configreferences/appsettings/refresh", nil, nil)
	}
	refers(t, p, "orders", "NEVER_THERE", "AccessToKeyVaultDenied")
	tf.must(t, 0, append([]string{"plan", "-detailed-exitcode"}, appsOnly...)...)
	faults(t, p, map[string]any{})

	tf.must(t, 0, "plan", "-detailed-exitcode", "-var", "password=second")
	tf.must(t, 0, "destroy", "-auto-approve", "-var", "password=second")
	var left struct {
		Value []any `json:"value"`
	}
	p.Do(t, http.MethodGet, p.Subscription()+"/providers/Microsoft.KeyVault/deletedVaults", nil, &left)
	if len(left.Value) != 0 {
		t.Errorf("vaults that were not purged: %v", left.Value)
	}
}

// stopForDays stops apps and lets five days pass.
func stopForDays(t *testing.T, p *platformtest.Platform, apps ...string) {
	t.Helper()
	for _, app := range apps {
		p.Do(t, http.MethodPost, p.Site(app)+"/stop", nil, nil)
	}
	p.Do(t, http.MethodPost, "/providers/Latchkey.Platform/clock/advance", map[string]string{"by": "120h"}, nil)
	var err error
	p.Client, err = armclient.New(p.Cred) // its token lived for less than days
	must(t, err)
}

// faults makes parts fail from now on.
func faults(t *testing.T, p *platformtest.Platform, which map[string]any) {
	t.Helper()
	p.Do(t, http.MethodPut, "/providers/Latchkey.Platform/faults", which, nil)
}

// refers waits until a reference in an app's settings has a status, and gives the
// version of the secret in use.
func refers(t *testing.T, p *platformtest.Platform, app, setting, want string) string {
	t.Helper()
	var got struct {
		Properties struct {
			Status  string `json:"status"`
			Version string `json:"activeVersion"`
		} `json:"properties"`
	}
	platformtest.Until(t, app+"'s "+setting+" is "+want, func() bool {
		p.Do(t, http.MethodGet, p.Site(app)+"/config/configreferences/appsettings/"+setting, nil, &got)
		return got.Properties.Status == want
	})
	return got.Properties.Version
}
