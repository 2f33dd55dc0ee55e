package vaults

import (
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

// trouble is why secrets cannot be shown; "" if they can. It is the key of a text.
type trouble string

const (
	denied trouble = "vault.denied" // they are not for this viewer
	silent trouble = "vault.silent" // the vault does not answer
)

// Silent reports whether asking again can help.
func (t trouble) Silent() bool { return t == silent }

// Denied reports whether a role would help.
func (t trouble) Denied() bool { return t == denied }

// troubleOf sorts out errors that a page is shown in spite of.
func troubleOf(err error) (trouble, error) {
	switch {
	case errors.Is(err, problem.Denied):
		return denied, nil
	case errors.Is(err, problem.Unavailable), errors.Is(err, problem.Timeout):
		return silent, nil
	}
	return "", err
}

// listing is a list of secrets, or why there is none.
type listing struct {
	List    []secret
	More    bool
	Trouble trouble
}

func read(v *page.Visit, data *client.Client, path string) (l listing, err error) {
	l.List, l.More, err = client.List[secret](v.Context(), data, path+version, most)
	l.Trouble, err = troubleOf(err)
	return l, err
}

// readBoth reads what is in a vault and what was deleted from it, at once: a vault that
// is silent is so for both.
func readBoth(v *page.Visit, data *client.Client) (there, deleted listing, err error) {
	var group errgroup.Group
	group.Go(func() (err error) {
		there, err = read(v, data, "/secrets")
		return err
	})
	group.Go(func() (err error) {
		deleted, err = read(v, data, "/deletedsecrets")
		return err
	})
	return there, deleted, group.Wait()
}
