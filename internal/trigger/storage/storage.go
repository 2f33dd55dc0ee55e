// Package storage owns how the connection of a binding leads to a storage
// account: which settings say it, what they may hold, and whose identity opens
// it. It does not know what is kept in the account and never reaches out.
package storage

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/keystore/credential"
	"github.com/latchkey/latchkey/internal/problem"
)

// DefaultConnection is the connection of bindings that name none.
const DefaultConnection = "AzureWebJobsStorage"

// Service is one of the services of a storage account.
type Service struct {
	Name     string // "queue", as host names of endpoints have it
	Endpoint string // "QueueEndpoint", as connection strings have it
	Port     string // of the emulator
}

// Queues is the queue service.
func Queues() Service { return Service{Name: "queue", Endpoint: "QueueEndpoint", Port: "10001"} }

// Account is a service of a storage account and a way into it: a connection
// string, or an address with an identity.
type Account struct {
	// Setting is the setting, or the prefix of the settings, that say all this.
	Setting string
	// ConnectionString is complete, the emulator's spelled out; "" for an identity.
	// It is a secret.
	ConnectionString string
	// ServiceURL is the service's address for an identity.
	ServiceURL string
	// Identity says whose tokens open ServiceURL.
	Identity credential.Request
}

// Resolve finds what a connection name stands for: the settings
// AzureWebJobs<name>, <name> and ConnectionStrings:<name> (or as environments
// write that), in this order, each with a connection string or as a prefix of __queueServiceUri (for queues),
// __accountName and what says whose identity is used. "" is DefaultConnection.
// It returns problem.Invalid, naming the setting and no value, for what is missing
// or cannot work, and problem.Unsupported for an unknown kind of credential.
func Resolve(setting func(name string) string, connection string, service Service) (Account, error) {
	if connection == "" {
		connection = DefaultConnection
	}
	for _, prefix := range []string{"AzureWebJobs" + connection, connection, "ConnectionStrings:" + connection,
		"ConnectionStrings__" + connection, "CUSTOMCONNSTR_" + connection} {
		r := reader{setting: setting, prefix: prefix, service: service}
		if text := strings.TrimSpace(setting(prefix)); text != "" {
			return r.connectionString(text)
		}
		if r.identified() {
			return r.identity()
		}
	}
	return Account{}, problem.New(problem.Invalid, fmt.Sprintf("connection %q is not set", connection)).
		WithNext(fmt.Sprintf("set %s to the connection string of a storage account, to UseDevelopmentStorage=true for the emulator, or %s__accountName for an identity",
			connection, connection))
}

// reader reads the settings that begin with prefix.
type reader struct {
	setting func(string) string
	prefix  string
	service Service
}

func (r reader) get(suffix string) string { return strings.TrimSpace(r.setting(r.prefix + suffix)) }

func (r reader) uriSuffixes() []string {
	return []string{"__" + r.service.Name + "ServiceUri", "__serviceUri"}
}

func (r reader) identified() bool {
	for _, suffix := range append(r.uriSuffixes(), "__accountName") {
		if r.get(suffix) != "" {
			return true
		}
	}
	return false
}

// refuse makes the error for a setting that begins with the prefix.
func (r reader) refuse(suffix, why, next string) (Account, error) {
	return Account{}, problem.New(problem.Invalid, "setting "+r.prefix+suffix+" "+why).WithNext(next)
}

func (r reader) identity() (Account, error) {
	a := Account{Setting: r.prefix}
	a.Identity = credential.Request{ClientID: r.get("__clientId"), ResourceID: r.get("__managedIdentityResourceId"),
		TenantID: r.get("__tenantId"), ClientSecret: r.get("__clientSecret")}
	kind := r.get("__credential")
	managed := strings.EqualFold(kind, "managedidentity")
	id := &a.Identity
	switch {
	case kind != "" && !managed:
		return Account{}, problem.New(problem.Unsupported, fmt.Sprintf("setting %s__credential=%q is not supported", r.prefix, kind)).
			WithNext("set it to managedidentity, or remove it")
	case id.ClientID != "" && id.ResourceID != "":
		return r.refuse("__clientId", "and __managedIdentityResourceId name an identity twice", "remove one of them")
	case managed && id.ClientSecret != "":
		return r.refuse("__clientSecret", "does not go with __credential=managedidentity", "remove one of them")
	case id.ClientSecret != "" && (id.ClientID == "" || id.TenantID == ""):
		return r.refuse("__clientSecret", "needs __clientId and __tenantId", "set all three, or use a managed identity")
	case id.ClientSecret != "":
		id.Kind = credential.AppRegistration
	case managed || id.ClientID != "" || id.ResourceID != "":
		id.Kind = credential.Managed
	}
	return r.address(a)
}

// address finds the service's address for an identity.
func (r reader) address(a Account) (Account, error) {
	for _, suffix := range r.uriSuffixes() {
		uri := r.get(suffix)
		if uri == "" {
			continue
		}
		u, err := url.Parse(uri)
		if err != nil || !secure(u) || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
			return r.refuse(suffix, "is not the https address of a "+r.service.Name+" service",
				"set it to https://{account}."+r.service.Name+".core.windows.net, without a query")
		}
		a.ServiceURL = strings.TrimRight(uri, "/")
		return a, nil
	}
	account := r.get("__accountName")
	if len(account) < 3 || len(account) > 24 || strings.Trim(account, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return r.refuse("__accountName", "cannot be the name of a storage account",
			"names have 3 to 24 lower-case letters and digits; for other endpoints set "+r.prefix+r.uriSuffixes()[0])
	}
	a.ServiceURL = "https://" + account + "." + r.service.Name + ".core.windows.net"
	return a, nil
}

// secure reports whether credentials may travel to u: by https, or within this
// machine.
func secure(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && local)
}
