package keyring

import (
	"context"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// isFormerMaster reports whether a name is one that former master keys are listed
// under.
func isFormerMaster(name string) bool {
	base, _, ok := accesskey.ParseRetiredName(name)
	return ok && accesskey.IsMasterName(base)
}

// formerMasters gives the former values of the master key as keys of their own,
// with the restrictions that they share with it. Their values are verifiers.
func formerMasters(set accesskey.Set) []accesskey.Key {
	meta, err := set.Master.Meta()
	if err != nil || set.Master.Value == "" {
		return nil
	}
	var out []accesskey.Key
	for _, f := range meta.Former {
		m := meta.Clone()
		m.Former, m.RotateEvery, m.Overlap = nil, 0, 0
		m.Retires, m.Created, m.Expires = accesskey.MasterName, f.Since, f.Expires
		k := accesskey.Key{Name: accesskey.RetiredName(accesskey.MasterName, f.Expires), Value: f.Verifier}
		out = append(out, k.WithMeta(m))
	}
	return out
}

// deleteFormerMaster ends a former value of the master key by its listed name.
func (r *Ring) deleteFormerMaster(ctx context.Context, name string) error {
	sec := MasterKey()
	edit := func(set *accesskey.Set, existed bool) error {
		m, err := set.Master.Meta()
		if err != nil {
			return err
		}
		kept := slices.DeleteFunc(slices.Clone(m.Former), func(f accesskey.Former) bool {
			return strings.EqualFold(accesskey.RetiredName(accesskey.MasterName, f.Expires), name)
		})
		if !existed || len(kept) == len(m.Former) {
			return errNoKey()
		}
		m.Former = kept
		*set, _ = set.SetMaster(set.Master.WithMeta(m))
		return nil
	}
	return r.write(ctx, r.home, edit, func() Event {
		e := sec.event(KeyRetired, r.home, name, sec.changeText(name, "Former value removed"))
		e.Retired = name
		return e
	})
}
