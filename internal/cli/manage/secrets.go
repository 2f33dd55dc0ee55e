package manage

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
)

// VaultSecret is a version of a secret of a vault. Its JSON form is what commands
// print, a contract.
type VaultSecret struct {
	Name        string            `json:"name"`
	Version     string            `json:"version,omitempty"` // "" where only the latest is meant
	ID          string            `json:"id"`
	Enabled     bool              `json:"enabled"`
	ContentType string            `json:"contentType,omitempty"`
	NotBefore   time.Time         `json:"notBefore,omitzero"`
	Expires     time.Time         `json:"expires,omitzero"`
	Created     time.Time         `json:"created,omitzero"`
	Updated     time.Time         `json:"updated,omitzero"`
	Tags        map[string]string `json:"tags,omitempty"`
	Deleted     time.Time         `json:"deleted,omitzero"`
	Purge       time.Time         `json:"purge,omitzero"` // when it is removed for good
	Size        *int              `json:"size,omitempty"` // bytes of the value, if it was read
	Value       *string           `json:"value,omitempty"`
}

// NewVaultSecret is a value with what is to be known of it.
type NewVaultSecret struct {
	Value              string
	ContentType        string
	NotBefore, Expires time.Time // zero for none
	Disabled           bool
	Tags               map[string]string
}

// secretBundle is a secret on the wire.
type secretBundle struct {
	ID          string            `json:"id"`
	Value       *string           `json:"value"`
	ContentType string            `json:"contentType"`
	Tags        map[string]string `json:"tags"`
	Attributes  struct {
		Enabled   bool  `json:"enabled"`
		NotBefore int64 `json:"nbf"`
		Expires   int64 `json:"exp"`
		Created   int64 `json:"created"`
		Updated   int64 `json:"updated"`
	} `json:"attributes"`
	Deleted int64 `json:"deletedDate"`
	Purge   int64 `json:"scheduledPurgeDate"`
}

func (b secretBundle) secret() VaultSecret {
	at := func(n int64) time.Time {
		if n == 0 {
			return time.Time{}
		}
		return time.Unix(n, 0).UTC()
	}
	a := b.Attributes
	s := VaultSecret{ID: b.ID, Enabled: a.Enabled, ContentType: b.ContentType, NotBefore: at(a.NotBefore), Expires: at(a.Expires), Created: at(a.Created),
		Updated: at(a.Updated), Tags: b.Tags, Deleted: at(b.Deleted), Purge: at(b.Purge), Value: b.Value}
	if b.Value != nil {
		size := len(*b.Value)
		s.Size = &size
	}
	if u, err := url.Parse(b.ID); err == nil { // /secrets/name/version
		parts := strings.Split(strings.Trim(u.Path, "/"), "/")
		if len(parts) > 1 {
			s.Name = parts[1]
		}
		if len(parts) > 2 {
			s.Version = parts[2]
		}
	}
	return s
}

// secretsVersion is the api-version of the data plane.
const secretsVersion = "7.4"

// VaultSecrets are the secrets of one vault, through its data plane.
type VaultSecrets struct {
	vault  Vault
	url    string // without a trailing slash
	client *armclient.Client
}

// Secrets opens a vault. It calls nobody.
func (i *Installation) Secrets(v Vault) (*VaultSecrets, error) {
	at, err := i.client.VaultURL(v.Name)
	return &VaultSecrets{v, strings.TrimSuffix(at, "/"), i.client}, err
}

// at gives the address of something in the vault.
func (s *VaultSecrets) at(path string) string {
	return query(s.url+path, "api-version", secretsVersion)
}

// call makes a call and says what to do when the vault refuses.
func (s *VaultSecrets) call(ctx context.Context, method, path string, in, out any) error {
	return s.explain(s.client.Do(ctx, method, s.at(path), in, out))
}

func (s *VaultSecrets) explain(err error) error {
	if problem.KindOf(err) != problem.Denied || err == nil {
		return err
	}
	message, _, _ := strings.Cut(err.Error(), "\r\n") // more lines are for programs
	if !strings.HasPrefix(message, "Caller is not authorized") && !strings.Contains(message, " permission on key vault ") {
		return problem.New(problem.Denied, message) // no role and no policy would help
	}
	next := `give a role that allows it: latchkey role assign "Key Vault Secrets Officer" --scope vault/` + s.vault.Name + " --principal …"
	if s.vault.Access == AccessByPolicies {
		next = "give an access policy that allows it: latchkey vault policy set " + s.vault.Name + " --secrets get,list,set --principal …"
	}
	return problem.New(problem.Denied, message).WithNext(next)
}

func (s *VaultSecrets) list(ctx context.Context, path string) ([]VaultSecret, error) {
	found, err := armclient.List[secretBundle](ctx, s.client, s.at(path))
	list := make([]VaultSecret, len(found))
	for n, b := range found {
		list[n] = b.secret()
	}
	return list, s.explain(err)
}

func secretPath(name string, more ...string) string {
	path := "/secrets/" + url.PathEscape(name)
	for _, m := range more {
		path += "/" + url.PathEscape(m)
	}
	return path
}

// List lists the secrets, without values.
func (s *VaultSecrets) List(ctx context.Context) ([]VaultSecret, error) {
	return s.list(ctx, "/secrets")
}

// Deleted lists the secrets that can be recovered.
func (s *VaultSecrets) Deleted(ctx context.Context) ([]VaultSecret, error) {
	return s.list(ctx, "/deletedsecrets")
}

// Versions lists the versions of a secret, the newest first.
func (s *VaultSecrets) Versions(ctx context.Context, name string) ([]VaultSecret, error) {
	list, err := s.list(ctx, secretPath(name, "versions"))
	sort.SliceStable(list, func(a, b int) bool { return list[a].Created.After(list[b].Created) })
	return list, err
}

// Show gives what is known of a version without reading its value; "" is the
// latest.
func (s *VaultSecrets) Show(ctx context.Context, name, version string) (VaultSecret, error) {
	list, err := s.Versions(ctx, name)
	if err != nil {
		return VaultSecret{}, err
	}
	for _, v := range list {
		if version == "" || strings.EqualFold(v.Version, version) {
			return v, nil
		}
	}
	return VaultSecret{}, problem.New(problem.NotFound, fmt.Sprintf("secret %.130q has no version %.40q", name, version)).
		WithNext("latchkey vault secret versions shows those there are")
}

// Get reads a version with its value; "" is the latest.
func (s *VaultSecrets) Get(ctx context.Context, name, version string) (VaultSecret, error) {
	path := secretPath(name)
	if version != "" {
		path = secretPath(name, version)
	}
	var b secretBundle
	err := s.call(ctx, http.MethodGet, path, nil, &b)
	return b.secret(), err
}

// Set makes a new version, or the secret. The value is not given back.
func (s *VaultSecrets) Set(ctx context.Context, name string, n NewVaultSecret) (VaultSecret, error) {
	attributes := map[string]any{"enabled": !n.Disabled}
	if !n.NotBefore.IsZero() {
		attributes["nbf"] = n.NotBefore.Unix()
	}
	if !n.Expires.IsZero() {
		attributes["exp"] = n.Expires.Unix()
	}
	body := map[string]any{"value": n.Value, "attributes": attributes}
	if n.ContentType != "" {
		body["contentType"] = n.ContentType
	}
	if len(n.Tags) > 0 {
		body["tags"] = n.Tags
	}
	var b secretBundle
	err := s.call(ctx, http.MethodPut, secretPath(name), body, &b)
	made := b.secret()
	made.Value = nil
	return made, err
}

// Delete deletes a secret with all its versions so that it can be recovered.
func (s *VaultSecrets) Delete(ctx context.Context, name string) (VaultSecret, error) {
	var b secretBundle
	err := s.call(ctx, http.MethodDelete, secretPath(name), nil, &b)
	return b.secret(), err
}

// Recover undoes Delete.
func (s *VaultSecrets) Recover(ctx context.Context, name string) (VaultSecret, error) {
	var b secretBundle
	err := s.call(ctx, http.MethodPost, "/deletedsecrets/"+url.PathEscape(name)+"/recover", nil, &b)
	return b.secret(), err
}

// Purge removes a deleted secret for good.
func (s *VaultSecrets) Purge(ctx context.Context, name string) error {
	return s.call(ctx, http.MethodDelete, "/deletedsecrets/"+url.PathEscape(name), nil, nil)
}
