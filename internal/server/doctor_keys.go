package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// keys looks at the sealing key and at every key document.
func (e *examination) keys(ctx context.Context) {
	view, err := viewKeys(ctx, e.cfg.DataDir, e.settings)
	if err != nil {
		e.fail(checkKeys, err, "correct the setting")
		return
	}
	docs, err := view.store.List(ctx)
	e.seal(view, len(docs))
	if err != nil {
		e.fail(checkKeys, err, asOwner)
		return
	}
	for _, warning := range view.store.Warnings() {
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
	if len(docs) == 0 {
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

// remedy says how to get a document's keys back, and how to do without.
func (v *keyView) remedy(doc keystore.Doc, err error) string {
	file := v.file(doc)
	if problem.KindOf(err) != keystore.ErrUndecryptable {
		return asOwner + ", or make " + file + " readable for it"
	}
	if next := problem.NextOf(err); next != "" && !strings.Contains(next, "restore") {
		return "nothing was changed. " + next // not about what was lost
	}
	return "nothing was changed. If it is sealed: restore " + v.place.sealDir + " (kek and keyset.json) from a backup, or set " +
		kekSetting + " or AzureWebEncryptionKey to the value it was sealed with. If it is damaged: restore " + file +
		" from a backup. To start over with new keys, which every caller then needs, move " + file + " aside"
}

// orphans names the functions that are gone but have keys. An app whose
// functions are not known for sure has none.
func (e *examination) orphans(v *keyView, docs []keystore.Doc) {
	if len(e.model.App.Faults) > 0 {
		return
	}
	known := map[keystore.Doc]bool{keystore.HostDoc: true}
	for i := range e.model.Functions {
		known[keystore.FunctionDoc(e.model.Functions[i].Name)] = true
	}
	for _, doc := range docs {
		if !known[doc] {
			e.add(checkOrphans, CheckWarn, fmt.Sprintf("%s has keys of a function that is gone; they work again if a function %q comes back", v.file(doc), string(doc)),
				"remove the file if the function will not come back")
		}
	}
}
