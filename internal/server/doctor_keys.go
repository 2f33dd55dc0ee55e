package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
)

// keys looks at the sealing key and at every key document.
func (e *examination) keys(ctx context.Context) {
	view, err := viewKeys(ctx, e.cfg, e.settings)
	if err != nil {
		e.fail(checkKeys, err, "correct the setting")
		return
	}
	docs, err := view.store.List(ctx)
	e.seal(view, len(docs))
	if err != nil {
		e.fail(checkKeys, err, view.reach())
		return
	}
	for _, warning := range warningsOf(view.store) {
		e.add(checkKeys, CheckWarn, warning, "make what is open to others the owner's alone: chmod 700 on the folder, chmod 600 on its files; put a file in place of a link")
	}
	e.documents(ctx, view, docs)
	e.orphans(view, docs)
}

func (e *examination) seal(v *keyView, docs int) {
	switch {
	case v.ownErr != nil:
		e.fail(checkSeal, v.ownErr, "restore the folder "+v.place.sealDir+" from a backup")
	case v.hasOwn:
		e.ok(checkSeal, "%s opens", v.keyset)
	case !v.files:
		e.ok(checkSeal, "keys are in %s, in the stock host's form; no keyset of Latchkey's own is needed", v.store)
	case v.foreign:
		e.ok(checkSeal, "keys are kept in the stock host's form; no keyset of Latchkey's own is needed")
	case docs > 0:
		e.add(checkSeal, CheckWarn, fmt.Sprintf("%s has keys but %s is not there", v.place.dir, v.keyset),
			"if the keys were sealed with it, restore "+v.place.sealDir+" before the next start; keys in clear are sealed with a new one then")
	default:
		e.ok(checkSeal, "no keyset yet; the first start makes it")
	}
}

func (e *examination) documents(ctx context.Context, v *keyView, docs []keystore.Doc) {
	switch {
	case len(docs) > 0:
	case ranBefore(e.cfg):
		e.add(checkKeys, CheckFailed, "the app ran before, and its keys are not in "+v.store.String(),
			"bring them back: mount the folder or restore a backup; a start makes no others in their place, unless it is told to: latchkey start --new-keys")
	default:
		e.ok(checkKeys, "no keys yet; the first start makes them in %s", v.place.dir)
	}
	for _, doc := range docs {
		d, _, err := v.store.Load(ctx, doc)
		if err != nil {
			e.add(checkKeys, CheckFailed, said(err, v.file(doc)), v.remedy(doc, err))
			continue
		}
		n := len(d.Keys.Keys) + len(d.Keys.System)
		if d.Keys.Master.Value != "" {
			n++
		}
		if doc.IsHost() && d.Keys.Master.Value == "" {
			e.add(checkKeys, CheckWarn, v.file(doc)+" has no master key", "run latchkey keys renew _master")
		}
		e.ok(checkKeys, "%s opens, keys: %d", v.file(doc), n)
	}
}

// said makes sure that a message names the file it is about.
func said(err error, file string) string {
	if text := err.Error(); strings.Contains(text, file) {
		return text
	}
	return file + ": " + err.Error()
}

// reach says what to do about a store that cannot be read.
func (v *keyView) reach() string {
	if v.files {
		return asOwner
	}
	return "see latchkey keystore check, and docs/stores for the permissions it needs"
}

// remedy says how to get a document's keys back, and how to do without.
func (v *keyView) remedy(doc keystore.Doc, err error) string {
	file := v.file(doc)
	if !v.files {
		return v.remedyElsewhere(doc, err)
	}
	next := problem.NextOf(err)
	switch {
	case problem.KindOf(err) == problem.Conflict: // it is another app's
		return next
	case problem.KindOf(err) != keystore.ErrUndecryptable:
		return asOwner + ", or make " + file + " readable for it"
	case next != "" && !strings.Contains(next, "restore"):
		return "nothing was changed. " + next + v.lastResort(doc)
	}
	return "nothing was changed. If it is sealed: restore " + v.place.sealDir + " (kek and keyset.json) from a backup, or set " +
		kekSetting + " or AzureWebEncryptionKey to the value it was sealed with. If it is damaged: restore " + file +
		" from a backup" + v.lastResort(doc)
}

// remedyElsewhere is remedy for stores that are no folder of documents.
func (v *keyView) remedyElsewhere(doc keystore.Doc, err error) string {
	next := problem.NextOf(err)
	switch {
	case problem.KindOf(err) != keystore.ErrUndecryptable && next != "":
		return "nothing was changed. " + next
	case problem.KindOf(err) != keystore.ErrUndecryptable:
		return v.reach()
	case next != "":
		return "nothing was changed. " + next + v.lastResort(doc)
	}
	return "nothing was changed. If it is sealed: set AzureWebEncryptionKey to the value it was sealed with. If it is damaged: " +
		"restore it from an earlier version in the store" + v.lastResort(doc)
}

// lastResort says how to do without a document, and how to get it back after all.
func (v *keyView) lastResort(doc keystore.Doc) string {
	if _, ok := v.store.(keystore.Copier); !ok {
		return ""
	}
	name, keyset := string(doc), ""
	if v.ownErr != nil {
		keyset = "; when all are discarded, move " + v.place.sealDir + " aside"
	}
	return ". To start over with new keys, which every caller then needs: latchkey keystore discard " + name + " DIR --yes; it keeps a copy, and " +
		"latchkey keystore restore " + name + " COPY DIR --yes puts that back once it can be opened" + keyset
}

// orphans names the functions that are gone but have keys. An app whose
// functions are not known for sure has none.
func (e *examination) orphans(v *keyView, docs []keystore.Doc) {
	if len(e.model.App.Faults) > 0 || hosted.Indexed(e.model) {
		return
	}
	known := map[keystore.Doc]bool{keystore.HostDoc: true}
	for i := range e.model.Functions {
		known[keystore.FunctionDoc(e.model.Functions[i].Name)] = true
	}
	for _, doc := range docs {
		switch {
		case known[doc]:
		case !v.files:
			e.add(checkOrphans, CheckWarn, v.file(doc)+" is of no function of this app: of one that is gone, or of another app",
				"if it is another app's, give each its own place; see docs/stores")
		default:
			e.add(checkOrphans, CheckWarn, fmt.Sprintf("%s has keys of a function that is gone; they work again if a function %q comes back in time (%s, 30 days by default), and are removed after that by a running app", v.file(doc), string(doc), keyring.GoneKeptSetting),
				"nothing needs to be done; latchkey keys list --all says until when they are kept")
		}
	}
}
