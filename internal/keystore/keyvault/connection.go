package keyvault

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/latchkey/latchkey/internal/cloudfault"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	// inFlight is how many requests are under way at a time; connections are kept for
	// as many.
	inFlight = 16
	// maxPages bounds a list, 25 secrets a page.
	maxPages = 4000
)

// property is what a list tells of a secret. name has no prefix.
type property struct {
	name    string
	enabled bool
	created int64 // Unix time, as all times of vaults in whole seconds
	updated int64
	tags    map[string]string
}

// secret is the latest version of one.
type secret struct {
	property
	version     string
	value       string
	contentType *string
	notBefore   *time.Time
	expires     *time.Time
}

// connection speaks with one vault: the few calls a key store needs, tried again
// where that helps, their faults in the store's terms. Names have no prefix.
type connection struct {
	cfg    Config
	prefix string // with its separator
	client *azsecrets.Client
	slots  chan struct{}
}

func connect(cfg Config) (*connection, error) {
	client, err := azsecrets.NewClient(cfg.URI, cloudfault.Marked(cfg.Credential), &azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: transport(cfg.Transport), CheckRedirect: stay},
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}})
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, "setting "+URISetting+" cannot be used", err)
	}
	c := &connection{cfg: cfg, client: client, slots: make(chan struct{}, inFlight)}
	if cfg.Prefix != "" {
		c.prefix = cfg.Prefix + separator
	}
	return c, nil
}

// stay has no redirect followed: a token must reach nobody but the vault.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func transport(given http.RoundTripper) http.RoundTripper {
	if given != nil {
		return given
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = inFlight
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	return t
}

// list gives all secrets whose names begin with the prefix, to the last page. If a
// page fails in a way that may pass, the list is begun anew: a pager that has
// failed once fails for ever.
func (c *connection) list(ctx context.Context) (all []property, err error) {
	err = c.again(ctx, func() error {
		all, err = c.pages(ctx)
		return err
	})
	if errors.Is(err, errEndless) {
		return nil, err
	}
	return all, c.fault(ctx, listing, "", err)
}

var errEndless = problem.New(keystore.ErrUnavailable, "the vault has too many secrets, or a list without an end").
	WithNext("keep access keys in a vault of their own")

func (c *connection) pages(ctx context.Context) ([]property, error) {
	var all []property
	pager := c.client.NewListSecretPropertiesPager(nil)
	for range maxPages {
		var page azsecrets.ListSecretPropertiesResponse
		err := c.once(ctx, func(ctx context.Context) (err error) {
			page, err = pager.NextPage(ctx)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, p := range page.Value {
			if p == nil {
				return nil, errTorn
			}
			if got, ok := c.property(p.ID, p.Attributes, p.Tags); ok {
				all = append(all, got)
			}
		}
		if !pager.More() {
			return all, nil
		}
	}
	return nil, errEndless
}

// property puts what the vault says in our form; false for another prefix.
func (c *connection) property(id *azsecrets.ID, a *azsecrets.SecretAttributes, tags map[string]*string) (property, bool) {
	if id == nil {
		return property{}, false
	}
	full := id.Name()
	if len(full) < len(c.prefix) || !strings.EqualFold(full[:len(c.prefix)], c.prefix) {
		return property{}, false
	}
	p := property{name: full[len(c.prefix):], enabled: true}
	if a != nil {
		p.enabled = a.Enabled == nil || *a.Enabled
		p.created, p.updated = unix(a.Created), unix(a.Updated)
	}
	for name, value := range tags {
		if value != nil {
			if p.tags == nil {
				p.tags = map[string]string{}
			}
			p.tags[name] = *value
		}
	}
	return p, true
}

func unix(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// errTorn says that an answer is not what it should be.
var errTorn = errors.New("the answer has no secret in it")

// secret puts a version in our form.
func (c *connection) secret(s azsecrets.Secret) (secret, error) {
	p, ok := c.property(s.ID, s.Attributes, s.Tags)
	if !ok || s.Value == nil || s.ID.Version() == "" {
		return secret{}, errTorn
	}
	got := secret{property: p, version: s.ID.Version(), value: *s.Value, contentType: s.ContentType}
	if s.Attributes != nil {
		got.notBefore, got.expires = s.Attributes.NotBefore, s.Attributes.Expires
	}
	return got, nil
}

// get reads the latest version; errGone if there is no such secret, errOff if it is
// disabled.
func (c *connection) get(ctx context.Context, name string) (got secret, err error) {
	err = c.try(ctx, func(ctx context.Context) error {
		r, err := c.client.GetSecret(ctx, c.prefix+name, "", nil)
		if err == nil {
			got, err = c.secret(r.Secret)
		}
		return err
	})
	return got, c.fault(ctx, reading, name, err)
}

// set makes a new version.
func (c *connection) set(ctx context.Context, name string, p azsecrets.SetSecretParameters) (got secret, err error) {
	err = c.try(ctx, func(ctx context.Context) error {
		r, err := c.client.SetSecret(ctx, c.prefix+name, p, nil)
		if err == nil {
			got, err = c.secret(r.Secret)
		}
		return err
	})
	return got, c.fault(ctx, writing, name, err)
}

// label replaces the tags of a version and gives when the vault did.
func (c *connection) label(ctx context.Context, name, version string, tags map[string]string) (updated int64, err error) {
	p := azsecrets.UpdateSecretPropertiesParameters{Tags: pointers(tags)}
	err = c.try(ctx, func(ctx context.Context) error {
		r, err := c.client.UpdateSecretProperties(ctx, c.prefix+name, version, p, nil)
		if err == nil && (r.Attributes == nil || r.Attributes.Updated == nil) {
			return errTorn
		}
		if err == nil {
			updated = r.Attributes.Updated.Unix()
		}
		return err
	})
	return updated, c.fault(ctx, writing, name, err)
}

// remove deletes a secret with all its versions; one that is not there is removed.
func (c *connection) remove(ctx context.Context, name string) error {
	err := c.try(ctx, func(ctx context.Context) error {
		_, err := c.client.DeleteSecret(ctx, c.prefix+name, nil)
		return err
	})
	err = c.fault(ctx, deleting, name, err)
	if errors.Is(err, errGone) || errors.Is(err, errDeleting) {
		return nil
	}
	return err
}

// restore undoes a deletion; one that is not deleted any more is restored.
func (c *connection) restore(ctx context.Context, name string) error {
	err := c.try(ctx, func(ctx context.Context) error {
		_, err := c.client.RecoverDeletedSecret(ctx, c.prefix+name, nil)
		return err
	})
	err = c.fault(ctx, recovering, name, err)
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

func pointers(tags map[string]string) map[string]*string {
	out := make(map[string]*string, len(tags))
	for name, value := range tags {
		out[name] = &value
	}
	return out
}
