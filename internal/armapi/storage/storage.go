// Package storage serves Microsoft.Storage so far as templates and clients need it
// to create function apps: accounts with their access keys, and the services,
// containers, shares, queues and tables in them as documents. It stores no blobs:
// where an account's data is served is for its operator to say (see [EndpointTag]).
package storage

import (
	"errors"
	"regexp"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
)

// Config is what a Service works with.
type Config struct {
	Inventory *inventory.Inventory
	Clock     clock.Clock
}

// Service serves the operations. It is safe for concurrent use.
type Service struct{ cfg Config }

// New makes a Service. It fails for a Config that leaves out what has no default.
func New(cfg Config) (*Service, error) {
	if cfg.Inventory == nil {
		return nil, errors.New("storage: Inventory must be set")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	return &Service{cfg}, nil
}

// AccountType is the resource type of accounts.
const AccountType = "Microsoft.Storage/storageAccounts"

// EndpointTag is the beginning of the tags that say where the data of an account
// is served, such as by an emulator: latchkey-blob-endpoint, and the same for
// queue, table, file, dfs and web.
const EndpointTag = "latchkey-"

// Paths of accounts.
const (
	subscription = "/subscriptions/{subscription}"
	namespace    = "/providers/Microsoft.Storage"
	accounts     = subscription + "/resourceGroups/{group}" + namespace + "/storageAccounts"
	account      = accounts + "/{account}"
)

// service is one of the services of an account and what lies in it.
type service struct {
	name     string // as in the path: "blobServices"
	children string // "containers"
	id       *regexp.Regexp
	defaults map[string]any // properties of the service
	child    map[string]any // properties of a child
	created  int            // status of a child that is new
}

var (
	dashed = regexp.MustCompile(`^(\$root|\$web|\$logs|[a-z0-9](-?[a-z0-9]){2,62})$`)
	table  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)
)

// services gives the services that there are.
func services() []service {
	none := map[string]any{"corsRules": []any{}}
	return []service{
		{"blobServices", "containers", dashed, map[string]any{
			"cors": none, "deleteRetentionPolicy": map[string]any{"enabled": false, "allowPermanentDelete": false},
		}, map[string]any{
			"publicAccess": "None", "leaseStatus": "Unlocked", "leaseState": "Available", "hasImmutabilityPolicy": false, "hasLegalHold": false,
			"defaultEncryptionScope": "$account-encryption-key", "denyEncryptionScopeOverride": false, "deleted": false, "remainingRetentionDays": 0,
			"immutableStorageWithVersioning": map[string]any{"enabled": false},
		}, 201},
		{"fileServices", "shares", dashed, map[string]any{
			"cors": none, "shareDeleteRetentionPolicy": map[string]any{"enabled": true, "days": 7}, "protocolSettings": map[string]any{"smb": map[string]any{}},
		}, map[string]any{
			"shareQuota": 5120, "enabledProtocols": "SMB", "accessTier": "TransactionOptimized", "leaseStatus": "unlocked", "leaseState": "available",
		}, 201},
		{"queueServices", "queues", dashed, map[string]any{"cors": none}, map[string]any{"approximateMessageCount": 0}, 200},
		{"tableServices", "tables", table, map[string]any{"cors": none}, map[string]any{}, 200},
	}
}

// Operations gives what the service serves.
func (s *Service) Operations() []arm.Operation {
	list := []arm.Operation{
		{Method: "PUT", Pattern: account, Handler: s.putAccount},
		{Method: "PATCH", Pattern: account, Handler: s.patchAccount},
		{Method: "GET", Pattern: account, Handler: s.getAccount},
		{Method: "DELETE", Pattern: account, Handler: s.deleteAccount},
		{Method: "GET", Pattern: accounts, Handler: s.listAccounts},
		{Method: "GET", Pattern: subscription + namespace + "/storageAccounts", Handler: s.listAccounts},
		{Method: "POST", Pattern: account + "/listKeys", Handler: s.listKeys, Secret: true},
		{Method: "POST", Pattern: account + "/regenerateKey", Handler: s.regenerateKey, Secret: true},
		{Method: "POST", Pattern: subscription + namespace + "/checkNameAvailability", Handler: s.checkName},
	}
	for _, svc := range services() {
		path := account + "/" + svc.name
		list = append(list,
			arm.Operation{Method: "GET", Pattern: path, Handler: s.listServices(svc)},
			arm.Operation{Method: "GET", Pattern: path + "/default", Scope: serviceScope, Handler: s.getService(svc)},
			arm.Operation{Method: "PUT", Pattern: path + "/default", Scope: serviceScope, Handler: s.putService(svc)},
			arm.Operation{Method: "GET", Pattern: path + "/default/" + svc.children, Scope: serviceScope, Handler: s.listChildren(svc)},
		)
		child := path + "/default/" + svc.children + "/{child}"
		list = append(list,
			arm.Operation{Method: "PUT", Pattern: child, Handler: s.putChild(svc)},
			arm.Operation{Method: "PATCH", Pattern: child, Handler: s.putChild(svc)},
			arm.Operation{Method: "GET", Pattern: child, Handler: s.getChild(svc)},
			arm.Operation{Method: "DELETE", Pattern: child, Handler: s.deleteChild},
		)
	}
	return list
}

// serviceScope is how many segments the id of a service has.
const serviceScope = 10

// Provider describes the provider to clients that ask before they use it.
func Provider() arm.Provider {
	versions := []string{"2025-08-01", "2025-06-01", "2024-01-01", "2023-05-01", "2023-01-01", "2022-09-01", "2021-04-01", "2019-06-01", "2018-02-01"}
	types := []arm.ProviderType{{Name: "storageAccounts", APIVersions: versions}, {Name: "checkNameAvailability", APIVersions: versions}}
	for _, svc := range services() {
		types = append(types, arm.ProviderType{Name: "storageAccounts/" + svc.name, APIVersions: versions},
			arm.ProviderType{Name: "storageAccounts/" + svc.name + "/" + svc.children, APIVersions: versions})
	}
	return arm.Provider{Namespace: "Microsoft.Storage", Types: types}
}
