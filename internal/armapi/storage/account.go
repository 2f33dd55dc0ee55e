package storage

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
)

// accountBody is what clients send. Members that are nil were not sent.
type accountBody struct {
	Location   string                     `json:"location"`
	Kind       string                     `json:"kind"`
	Tags       *map[string]string         `json:"tags"`
	SKU        *sku                       `json:"sku"`
	Identity   *struct{ Type string }     `json:"identity"`
	Properties map[string]json.RawMessage `json:"properties"`
}

type sku struct {
	Name string `json:"name"`
	Tier string `json:"tier"`
}

// key is an access key of an account.
type key struct {
	Name        string    `json:"keyName"`
	Value       string    `json:"value"`
	Permissions string    `json:"permissions"`
	Created     time.Time `json:"creationTime"`
}

// kept is what is kept of an account that clients see only when they ask for keys.
type kept struct {
	Keys []key `json:"keys"`
}

// newKey makes an access key: 64 random bytes in base64.
func (s *Service) newKey(name string) key {
	var b [64]byte
	_, _ = rand.Read(b[:]) // never fails
	return key{name, base64.StdEncoding.EncodeToString(b[:]), "FULL", s.cfg.Clock.Now().UTC()}
}

var (
	accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	skuName     = regexp.MustCompile(`^(Standard|Premium|StandardV2|PremiumV2)_(LRS|GRS|RAGRS|ZRS|GZRS|RAGZRS)$`)
)

// computed are the properties that clients send back and that do not count.
var computed = []string{
	"provisioningState", "primaryEndpoints", "secondaryEndpoints", "primaryLocation", "secondaryLocation", "statusOfPrimary", "statusOfSecondary",
	"creationTime", "keyCreationTime", "privateEndpointConnections", "geoReplicationStats", "lastGeoFailoverTime",
}

func (s *Service) putAccount(c *arm.Call) (arm.Reply, error) { return s.writeAccount(c, true) }

func (s *Service) patchAccount(c *arm.Call) (arm.Reply, error) { return s.writeAccount(c, false) }

// writeAccount creates or changes an account. What is not sent stays as it is.
func (s *Service) writeAccount(c *arm.Call, create bool) (arm.Reply, error) {
	b, err := readAccount(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if err := s.takenElsewhere(c); err != nil {
		return arm.Reply{}, err
	}
	r, _, err := s.cfg.Inventory.WriteInGroup(c.Context(), c.Scope, c.Caller.ObjectID, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists && !create {
			return old, notFound(c)
		}
		if err := c.Precondition(old.ETag(), exists); err != nil {
			return old, err
		}
		return s.change(old, exists, b)
	})
	if err != nil {
		return arm.Reply{}, err
	}
	return s.answer(c, r)
}

func readAccount(c *arm.Call) (accountBody, error) {
	var b accountBody
	if err := c.JSON(&b); err != nil {
		return b, err
	}
	if !accountName.MatchString(c.Scope.Name()) {
		return b, arm.Faultf(http.StatusBadRequest, "AccountNameInvalid",
			"%s is not a valid storage account name. Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only.", c.Scope.Name())
	}
	if b.SKU != nil && !skuName.MatchString(b.SKU.Name) {
		return b, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestPropertyValue", Target: "sku.name",
			Message: "The value of sku.name is none such as Standard_LRS."}
	}
	if b.Identity != nil && b.Identity.Type != "" && !strings.EqualFold(b.Identity.Type, "None") {
		return b, arm.Fault{Status: http.StatusBadRequest, Code: "NotSupported", Target: "identity",
			Message: "Storage accounts have no identities here. Leave identity out."}
	}
	if b.Tags != nil {
		return b, resources.CheckTags(*b.Tags)
	}
	return b, nil
}

// takenElsewhere refuses a name that an account in another group has.
func (s *Service) takenElsewhere(c *arm.Call) error {
	all, _, err := s.cfg.Inventory.List(c.Context(), AccountType, c.Scope.Parent().Parent(), "", 0)
	if err != nil {
		return err
	}
	for _, r := range all {
		if id := r.ResourceID(); strings.EqualFold(id.Name(), c.Scope.Name()) && !id.Equal(c.Scope) {
			return arm.Faultf(http.StatusConflict, "StorageAccountAlreadyTaken", "The storage account named %s is already taken.", c.Scope.Name())
		}
	}
	return nil
}

// change makes the new form of an account.
func (s *Service) change(old inventory.Resource, exists bool, b accountBody) (inventory.Resource, error) {
	next := old
	if !exists {
		if strings.TrimSpace(b.Location) == "" {
			return old, arm.Fault{Status: http.StatusBadRequest, Code: "LocationRequired", Target: "location",
				Message: "The location property is required for this definition."}
		}
		if b.SKU == nil {
			return old, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Target: "sku", Message: "The sku of a new account is required."}
		}
		next.Location, next.Kind = strings.ToLower(strings.ReplaceAll(b.Location, " ", "")), "StorageV2"
		next.Private = encode(kept{[]key{s.newKey("key1"), s.newKey("key2")}})
	}
	if b.Kind != "" {
		next.Kind = b.Kind
	}
	if b.Tags != nil {
		next.Tags = *b.Tags
	}
	if b.SKU != nil {
		b.SKU.Tier, _, _ = strings.Cut(b.SKU.Name, "_")
		next.SKU = encode(b.SKU)
	}
	props := map[string]json.RawMessage{}
	if len(old.Properties) > 0 {
		if err := json.Unmarshal(old.Properties, &props); err != nil {
			return old, problem.Wrap(problem.Undecryptable, "stored properties cannot be understood", err)
		}
	}
	for name, v := range b.Properties {
		if !slices.Contains(computed, name) && string(v) != "null" {
			props[name] = v
		}
	}
	next.Properties = encode(props)
	return next, nil
}

// encode encodes what always can be.
func encode(v any) json.RawMessage {
	text, _ := json.Marshal(v)
	return text
}

func notFound(c *arm.Call) error {
	return arm.Faultf(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found.", AccountType, c.Params["account"], c.Params["group"])
}

// load reads the account that a call is about.
func (s *Service) load(c *arm.Call) (inventory.Resource, error) {
	id := c.Scope
	for strings.Count(id.Type(), "/") > 1 {
		id = id.Parent()
	}
	r, err := s.cfg.Inventory.Get(c.Context(), id)
	if errors.Is(err, problem.NotFound) {
		return r, notFound(c)
	}
	return r, err
}

func (s *Service) getAccount(c *arm.Call) (arm.Reply, error) {
	r, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return s.answer(c, r)
}

func (s *Service) answer(c *arm.Call, r inventory.Resource) (arm.Reply, error) {
	body, err := describe(c, r)
	return arm.OK(body).WithETag(r.ETag()), err
}

// describe gives an account as clients see it.
func describe(c *arm.Call, r inventory.Resource) (map[string]any, error) {
	props := defaults()
	sent := map[string]any{}
	if err := json.Unmarshal(r.Properties, &sent); err != nil {
		return nil, problem.Wrap(problem.Undecryptable, "stored properties cannot be understood", err)
	}
	maps.Copy(props, sent)
	maps.Copy(props, map[string]any{
		"provisioningState": "Succeeded", "primaryLocation": r.Location, "statusOfPrimary": "available", "creationTime": r.Created,
		"primaryEndpoints": endpoints(c, r), "privateEndpointConnections": []any{}, "keyCreationTime": keyTimes(r),
	})
	tags := r.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return map[string]any{
		"id": r.ID, "name": r.ResourceID().Name(), "type": AccountType, "location": r.Location, "kind": r.Kind, "tags": tags, "sku": r.SKU, "properties": props,
	}, nil
}

func defaults() map[string]any {
	enabled := map[string]any{"enabled": true, "keyType": "Account"}
	return map[string]any{
		"accessTier": "Hot", "supportsHttpsTrafficOnly": true, "minimumTlsVersion": "TLS1_2", "allowBlobPublicAccess": false, "allowSharedKeyAccess": true,
		"publicNetworkAccess": "Enabled", "allowCrossTenantReplication": false, "isHnsEnabled": false, "isNfsV3Enabled": false, "isSftpEnabled": false,
		"isLocalUserEnabled": true, "defaultToOAuthAuthentication": false, "dnsEndpointType": "Standard", "largeFileSharesState": "Disabled",
		"networkAcls": map[string]any{"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": []any{}, "virtualNetworkRules": []any{}},
		"encryption":  map[string]any{"keySource": "Microsoft.Storage", "services": map[string]any{"blob": enabled, "file": enabled}},
	}
}

// endpoints gives where the data of an account is said to be: where its tags say,
// or below the suffix of this cloud, where nothing is served.
func endpoints(c *arm.Call, r inventory.Resource) map[string]string {
	_, host, _ := strings.Cut(c.BaseURL, "://")
	out := map[string]string{}
	for _, kind := range []string{"blob", "queue", "table", "file", "dfs", "web"} {
		out[kind] = "https://" + r.ResourceID().Name() + "." + kind + "." + host + "/"
		for name, v := range r.Tags {
			if strings.EqualFold(name, EndpointTag+kind+"-endpoint") {
				out[kind] = strings.TrimRight(v, "/") + "/"
			}
		}
	}
	return out
}

func keyTimes(r inventory.Resource) map[string]time.Time {
	out := map[string]time.Time{}
	for _, k := range keysOf(r).Keys {
		out[k.Name] = k.Created
	}
	return out
}

func keysOf(r inventory.Resource) (k kept) {
	_ = json.Unmarshal(r.Private, &k) // it was written by this package
	return k
}

func (s *Service) deleteAccount(c *arm.Call) (arm.Reply, error) {
	r, err := s.cfg.Inventory.Get(c.Context(), c.Scope)
	if err == nil {
		if err = c.Precondition(r.ETag(), true); err == nil {
			err = s.cfg.Inventory.Delete(c.Context(), c.Scope)
		}
	}
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	return arm.Status(http.StatusOK), err
}

func (s *Service) listAccounts(c *arm.Call) (arm.Reply, error) {
	all, _, err := s.cfg.Inventory.List(c.Context(), AccountType, c.Scope, "", 0)
	if err != nil {
		return arm.Reply{}, err
	}
	var items []map[string]any
	for _, r := range all {
		item, err := describe(c, r)
		if err != nil {
			return arm.Reply{}, err
		}
		items = append(items, item)
	}
	return arm.List(c, items, ""), nil
}

func (s *Service) listKeys(c *arm.Call) (arm.Reply, error) {
	r, err := s.load(c)
	return arm.OK(keysOf(r)), err
}

// regenerateKey replaces one of the keys.
func (s *Service) regenerateKey(c *arm.Call) (arm.Reply, error) {
	var b struct {
		KeyName string `json:"keyName"`
	}
	if err := c.JSON(&b); err != nil {
		return arm.Reply{}, err
	}
	r, _, err := s.cfg.Inventory.Write(c.Context(), c.Scope, c.Caller.ObjectID, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists {
			return old, notFound(c)
		}
		k := keysOf(old)
		at := slices.IndexFunc(k.Keys, func(k key) bool { return strings.EqualFold(k.Name, b.KeyName) })
		if at < 0 {
			return old, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestPropertyValue", Target: "keyName", Message: "The keyName must be key1 or key2."}
		}
		k.Keys[at] = s.newKey(k.Keys[at].Name)
		old.Private = encode(k)
		return old, nil
	})
	return arm.OK(keysOf(r)), err
}

func (s *Service) checkName(c *arm.Call) (arm.Reply, error) {
	var b struct{ Name string }
	if err := c.JSON(&b); err != nil {
		return arm.Reply{}, err
	}
	if !accountName.MatchString(b.Name) {
		return arm.OK(map[string]any{"nameAvailable": false, "reason": "AccountNameInvalid",
			"message": "A storage account's name has 3 to 24 lower-case letters and digits."}), nil
	}
	all, _, err := s.cfg.Inventory.List(c.Context(), AccountType, c.Scope, "", 0)
	if err != nil {
		return arm.Reply{}, err
	}
	for _, r := range all {
		if r.ResourceID().Name() == b.Name {
			return arm.OK(map[string]any{"nameAvailable": false, "reason": "AlreadyExists",
				"message": "The storage account named " + b.Name + " is already taken."}), nil
		}
	}
	return arm.OK(map[string]any{"nameAvailable": true}), nil
}
