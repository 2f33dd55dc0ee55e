package secrets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/vault"
)

// Get reads a version, the latest for "", which takes one reading of the state.
// Errors: problem.NotFound with vault.SecretNotFound, problem.Denied with
// vault.SecretDisabled; times of validity do not count.
func (s *Store) Get(ctx context.Context, v vault.Vault, name, version string) (Bundle, error) {
	if err := vault.CheckSecretName(name); err != nil {
		return Bundle{}, err
	}
	version = strings.ToLower(version)
	h, err := s.head(ctx, v, strings.ToLower(name))
	if err != nil {
		return Bundle{}, missing(err, name, version)
	}
	x, _, err := s.version(ctx, v, h, version)
	if err != nil {
		return Bundle{}, missing(err, name, version)
	}
	if x.Disabled {
		return Bundle{}, problem.Wrap(problem.Denied, "Operation get is not allowed on a disabled secret.", vault.SecretDisabled).WithNext("enable this version of the secret, or set a new one")
	}
	return Bundle{h.properties(v, x), x.Value}, nil
}

// head reads a secret; state.ErrNotFound if there is none.
func (s *Store) head(ctx context.Context, v vault.Vault, key string) (head, error) {
	doc, err := s.State.Get(ctx, headsOf(v.UID)+state.Key(key))
	if err != nil {
		return head{}, err
	}
	return decodeHead(doc)
}

// version finds a version of a secret, the latest for "".
func (s *Store) version(ctx context.Context, v vault.Vault, h head, id string) (version, state.Revision, error) {
	if id == "" || id == h.Latest.ID {
		return h.Latest, h.revision, nil
	}
	if !isID(id) {
		return version{}, 0, state.ErrNotFound
	}
	doc, err := s.State.Get(ctx, versionsOf(v.UID, h.UID)+state.Key(id))
	if err != nil {
		return version{}, 0, err
	}
	x, err := decodeVersion(doc)
	return x, doc.Revision, err
}

func decodeVersion(doc state.Document) (x version, err error) {
	if json.Unmarshal(doc.Value, &x) != nil {
		return x, damaged(doc.Key)
	}
	return x, nil
}

// missing turns what the state says of something that is not there into what
// clients are told.
func missing(err error, name, version string) error {
	if !errors.Is(err, state.ErrNotFound) {
		return err
	}
	if version != "" {
		name += "/" + version
	}
	return problem.Wrap(problem.NotFound, fmt.Sprintf("A secret with (name/id) %s was not found in this key vault. "+
		"If you recently deleted this secret you may be able to recover it using the correct recovery command. "+
		"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182", clip(name)), vault.SecretNotFound)
}

// clip bounds what of a version is quoted.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// Sizes of pages.
const (
	defaultPage = 25
	maxPage     = 1000
)

// within gives the page of documents below a prefix that a Page asks for.
func (p Page) within(prefix state.Key) state.Page {
	page := state.Page{Limit: min(p.Limit, maxPage)}
	if p.Limit <= 0 {
		page.Limit = defaultPage
	}
	if p.After != "" {
		page.After = prefix + state.Key(p.After)
	}
	return page
}

// heads lists secrets, or deleted ones.
func (s *Store) heads(ctx context.Context, prefix state.Key, p Page) (list []head, next string, err error) {
	if p.After != "" && vault.CheckSecretName(p.After) != nil {
		return nil, "", invalid("$skiptoken", "is not what a list gave")
	}
	listing, err := s.State.List(ctx, prefix, p.within(prefix))
	if err != nil {
		return nil, "", err
	}
	list = make([]head, len(listing.Documents))
	for i, doc := range listing.Documents {
		if list[i], err = decodeHead(doc); err != nil {
			return nil, "", err
		}
		next = string(doc.Key[len(prefix):])
	}
	if !listing.More {
		next = ""
	}
	return list, next, nil
}

// List gives the secrets of a vault by their latest versions, in order of names.
// next goes into Page.After for more; "" at the end. A list goes on well after
// what it ended at was deleted.
func (s *Store) List(ctx context.Context, v vault.Vault, p Page) (list []Properties, next string, err error) {
	found, next, err := s.heads(ctx, headsOf(v.UID), p)
	list = make([]Properties, len(found))
	for i, h := range found {
		list[i] = h.properties(v, h.Latest)
	}
	return list, next, err
}

// Versions gives the versions of a secret in the order of their ids, as List does.
// problem.NotFound with vault.SecretNotFound.
func (s *Store) Versions(ctx context.Context, v vault.Vault, name string, p Page) (list []Properties, next string, err error) {
	if err := vault.CheckSecretName(name); err != nil {
		return nil, "", err
	}
	if p.After != "" && !isID(p.After) {
		return nil, "", invalid("$skiptoken", "is not what a list gave")
	}
	h, err := s.head(ctx, v, strings.ToLower(name))
	if err != nil {
		return nil, "", missing(err, name, "")
	}
	found, more, err := s.versions(ctx, v, h, p)
	if err != nil {
		return nil, "", err
	}
	list = make([]Properties, len(found))
	for i, x := range found {
		list[i] = h.properties(v, x)
	}
	if more {
		next = found[len(found)-1].ID
	}
	return list, next, nil
}

// versions lists versions, the latest, which lies in the head, in its place among
// them.
func (s *Store) versions(ctx context.Context, v vault.Vault, h head, p Page) (list []version, more bool, err error) {
	prefix := versionsOf(v.UID, h.UID)
	page := p.within(prefix)
	listing, err := s.State.List(ctx, prefix, page)
	if err != nil {
		return nil, false, err
	}
	for _, doc := range listing.Documents {
		x, err := decodeVersion(doc)
		if err != nil {
			return nil, false, err
		}
		list = append(list, x)
	}
	more = listing.More
	at, there := slices.BinarySearchFunc(list, h.Latest.ID, func(x version, id string) int { return strings.Compare(x.ID, id) })
	if !there && h.Latest.ID > p.After && !(more && at == len(list)) { // else it comes on another page, or has just been replaced
		list = slices.Insert(list, at, h.Latest)
	}
	if len(list) > page.Limit {
		list, more = list[:page.Limit], true
	}
	return list, more, nil
}
