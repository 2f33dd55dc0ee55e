package vaultapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/vault"
)

// endpoint is what a method and a path name.
type endpoint uint8

const (
	nothing endpoint = iota
	setSecret
	getSecret
	updateSecret
	deleteSecret
	listSecrets
	listVersions
	backupSecret
	restoreSecret
	listDeleted
	getDeleted
	purgeDeleted
	recoverDeleted
	contacts // of certificates, which Terraform asks for
	foreign  // keys, certificates and the like
)

// known has what endpoints are called in the record and what they do to a vault.
// It is never changed.
var known = [...]struct {
	name string
	op   vault.Operation
}{
	nothing:   {},
	setSecret: {"set", vault.Set}, getSecret: {"get", vault.Get}, updateSecret: {"update", vault.Update},
	deleteSecret: {"delete", vault.Delete}, listSecrets: {"list", vault.List}, listVersions: {"listVersions", vault.ListVersions},
	backupSecret: {"backup", vault.Backup}, restoreSecret: {"restore", vault.Restore},
	listDeleted: {"listDeleted", vault.ListDeleted}, getDeleted: {"getDeleted", vault.GetDeleted},
	purgeDeleted: {"purge", vault.Purge}, recoverDeleted: {"recover", vault.Recover},
	contacts: {}, foreign: {},
}

// served says whether the endpoint does something to secrets.
func (e endpoint) served() bool { return known[e].name != "" }

// takesBody says whether an endpoint reads a body.
func (e endpoint) takesBody() bool {
	return e == setSecret || e == updateSecret || e == restoreSecret
}

// audited says whether what an endpoint does is recorded before it is answered:
// changes, and the one read that takes a secret out with all its versions.
func (e endpoint) audited() bool {
	switch e {
	case setSecret, updateSecret, deleteSecret, backupSecret, restoreSecret, purgeDeleted, recoverDeleted:
		return true
	}
	return false
}

// target is what a request is about.
type target struct {
	endpoint endpoint
	name     string // of the secret, as the client spells it
	version  string // "" is the latest
}

const (
	maxSegments = 4
	maxPath     = 1024 // bytes
)

// segments are the parts of a path, decoded, without the empty ones: clients that
// join URLs carelessly double slashes and leave one at the end.
type segments struct {
	list [maxSegments]string
	n    int
}

// split gives the segments of a URL's path; ok is false for more than any path
// here has, and for what is not encoded correctly.
func split(u *url.URL) (segs segments, ok bool) {
	path, encoded := u.Path, u.RawPath != ""
	if encoded {
		path = u.RawPath
	}
	if len(path) > maxPath {
		return segs, false
	}
	for path != "" {
		var seg string
		seg, path, _ = strings.Cut(path, "/")
		if seg == "" {
			continue
		}
		if segs.n == maxSegments {
			return segs, false
		}
		if encoded {
			var err error
			if seg, err = url.PathUnescape(seg); err != nil {
				return segs, false
			}
		}
		segs.list[segs.n] = seg
		segs.n++
	}
	return segs, true
}

// resolve finds what a request is about. Its errors are answers: 400 for names
// that cannot be, 404 for paths and 405 for methods that are not served.
func resolve(method string, u *url.URL) (target, error) {
	segs, ok := split(u)
	if !ok {
		return target{}, badParameter("The request URI cannot be understood.")
	}
	switch first := segs.list[0]; {
	case strings.EqualFold(first, "secrets"):
		return ofSecrets(method, segs)
	case strings.EqualFold(first, "deletedsecrets"):
		return ofDeleted(method, segs)
	case isForeign(first):
		return ofForeign(method, segs)
	}
	return target{}, notServed()
}

func ofSecrets(method string, segs segments) (target, error) {
	name, last := segs.list[1], segs.list[2]
	if method == http.MethodPost {
		switch {
		case segs.n == 2 && strings.EqualFold(name, "restore"):
			return target{endpoint: restoreSecret}, nil
		case segs.n == 3 && strings.EqualFold(last, "backup"):
			return named(target{backupSecret, name, ""})
		}
	}
	switch {
	case segs.n == 1:
		return pick(method, withSecrets, target{})
	case segs.n == 2:
		return pick(method, withSecret, target{name: name})
	case segs.n == 3 && method == http.MethodGet && strings.EqualFold(last, "versions"):
		return named(target{listVersions, name, ""})
	case segs.n == 3:
		return pick(method, withVersion, target{name: name, version: last})
	}
	return target{}, notServed()
}

func ofDeleted(method string, segs segments) (target, error) {
	name := segs.list[1]
	switch {
	case segs.n == 1:
		return pick(method, withDeleted, target{})
	case segs.n == 2:
		return pick(method, withOneGone, target{name: name})
	case segs.n == 3 && strings.EqualFold(segs.list[2], "recover"):
		return pick(method, withRecover, target{name: name})
	}
	return target{}, notServed()
}

// isForeign says whether a collection is one that the cloud's vaults have and
// these have not.
func isForeign(collection string) bool {
	switch strings.ToLower(collection) {
	case "keys", "deletedkeys", "certificates", "deletedcertificates", "storage", "deletedstorage",
		"rng", "backup", "restore", "securitydomain", "settings", "selectiverestore":
		return true
	}
	return false
}

func ofForeign(method string, segs segments) (target, error) {
	if method == http.MethodGet && segs.n == 2 &&
		strings.EqualFold(segs.list[0], "certificates") && strings.EqualFold(segs.list[1], "contacts") {
		return target{endpoint: contacts}, nil
	}
	return target{endpoint: foreign}, nil
}

// choice is the endpoint of a method.
type choice struct {
	method string
	endpoint
}

// What can be done with each form of path; names that are no names are told first.
var (
	withSecrets = []choice{{http.MethodGet, listSecrets}}
	withSecret  = []choice{{http.MethodGet, getSecret}, {http.MethodPut, setSecret}, {http.MethodPatch, updateSecret}, {http.MethodDelete, deleteSecret}}
	withVersion = []choice{{http.MethodGet, getSecret}, {http.MethodPatch, updateSecret}}
	withDeleted = []choice{{http.MethodGet, listDeleted}}
	withOneGone = []choice{{http.MethodGet, getDeleted}, {http.MethodDelete, purgeDeleted}}
	withRecover = []choice{{http.MethodPost, recoverDeleted}}
)

func pick(method string, choices []choice, t target) (target, error) {
	for _, c := range choices {
		if c.method == method {
			t.endpoint = c.endpoint
			return named(t)
		}
	}
	return target{}, wrongMethod(method, choices)
}

// named checks the name and version of a target.
func named(t target) (target, error) {
	for _, part := range [...]string{t.name, t.version} {
		if part != "" && !validName(part) {
			return target{}, badParameter("The request URI contains an invalid name: " + clip(part))
		}
	}
	return t, nil
}

const maxName = 127

func validName(s string) bool {
	if len(s) == 0 || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			return false
		}
	}
	return true
}
