package vaultapi

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/vault/secrets"
)

// form writes secrets in the JSON forms that clients read, with the host that the
// client uses in their ids. It is written by hand because reading secrets is what
// vaults do most.
type form struct {
	base string // "https://host:port"
}

func (x *exchange) form() form { return form{"https://" + strings.ToLower(x.r.Host)} }

// bundle answers with a secret and its value.
func (x *exchange) bundle(s secrets.Bundle) reply {
	x.event.Version = s.Version
	b := make([]byte, 0, 512+len(s.Value)+len(s.Value)/8)
	b = appendMember(append(b, '{'), "value", s.Value)
	return reply{http.StatusOK, append(x.form().members(b, &s.Properties), '}')}
}

// properties answers with a secret without its value.
func (x *exchange) properties(p secrets.Properties, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	x.event.Version = p.Version
	return reply{http.StatusOK, x.form().item(make([]byte, 0, 512), &p)}, nil
}

func (x *exchange) deleted(d secrets.Deleted, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusOK, x.form().deleted(make([]byte, 0, 512), &d)}, nil
}

// item appends an object without value.
func (f form) item(b []byte, p *secrets.Properties) []byte {
	return append(f.members(append(b, '{'), p), '}')
}

func (f form) deleted(b []byte, d *secrets.Deleted) []byte {
	b = appendName(append(b, '{'), "recoveryId")
	b = append(append(append(b, '"'), f.base...), "/deletedsecrets/"...)
	b = append(append(b, d.Name...), '"')
	b = appendTime(b, "deletedDate", d.DeletedAt)
	b = appendTime(b, "scheduledPurgeDate", d.PurgeAt)
	return append(f.members(b, &d.Properties), '}')
}

// members appends what all forms have. Names and versions need no escapes.
func (f form) members(b []byte, p *secrets.Properties) []byte {
	b = appendName(b, "id")
	b = append(append(append(b, '"'), f.base...), "/secrets/"...)
	b = append(b, p.Name...)
	if p.Version != "" {
		b = append(append(b, '/'), p.Version...)
	}
	b = append(b, '"')
	if p.ContentType != "" {
		b = appendMember(b, "contentType", p.ContentType)
	}
	b = appendAttributes(b, p)
	if p.Tags == nil {
		return b
	}
	b = append(appendName(b, "tags"), '{')
	for _, key := range slices.Sorted(maps.Keys(p.Tags)) {
		b = append(appendText(comma(b), key), ':')
		b = appendText(b, p.Tags[key])
	}
	return append(b, '}')
}

func appendAttributes(b []byte, p *secrets.Properties) []byte {
	b = append(appendName(b, "attributes"), '{')
	b = strconv.AppendBool(appendName(b, "enabled"), p.Enabled)
	b = appendTime(b, "nbf", p.NotBefore)
	b = appendTime(b, "exp", p.Expires)
	b = appendTime(b, "created", p.Created)
	b = appendTime(b, "updated", p.Updated)
	b = appendMember(b, "recoveryLevel", p.RecoveryLevel)
	return append(appendNumber(b, "recoverableDays", int64(p.RecoverableDays)), '}')
}

// appendTime appends a time in seconds since 1970, unless it is not set.
func appendTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendNumber(b, name, t.Unix())
}

// comma appends one unless an object or list has just begun.
func comma(b []byte) []byte {
	if last := b[len(b)-1]; last == '{' || last == '[' {
		return b
	}
	return append(b, ',')
}

// startsEmpty says whether this page is the empty one before the first.
func (x *exchange) startsEmpty() bool { return x.EmptyPages && !x.query.resumed }

func (x *exchange) emptyPage() reply {
	link := x.query.nextLink(strings.ToLower(x.r.Host), x.listPath(), "")
	return reply{http.StatusOK, append(appendMember([]byte(`{"value":[]`), "nextLink", link), '}')}
}

// paged ends a page that b begins, with the link to the next one.
func (x *exchange) paged(b []byte, next string) reply {
	b = append(b, ']')
	if next == "" {
		return reply{http.StatusOK, append(b, `,"nextLink":null}`...)}
	}
	link := x.query.nextLink(strings.ToLower(x.r.Host), x.listPath(), next)
	return reply{http.StatusOK, append(appendMember(b, "nextLink", link), '}')}
}

// listPath gives the path of the list that is answered.
func (x *exchange) listPath() string {
	switch x.target.endpoint {
	case listVersions:
		return "/secrets/" + x.target.name + "/versions"
	case listDeleted:
		return "/deletedsecrets"
	}
	return "/secrets"
}
