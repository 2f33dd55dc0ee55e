package cli

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
)

// holder is a keyBook that knows which functions are gone.
type holder interface {
	Quarantined(ctx context.Context) ([]keyring.Quarantine, error)
}

// heldKeys gives the keys that are kept for functions that are gone. They open
// nothing, whatever they would do if the function came back.
func heldKeys(ctx context.Context, keys keyBook, show bool) ([]keyView, error) {
	if m, ok := keys.(*manage.Keys); ok {
		infos, err := m.Quarantined(ctx)
		return viewInfos(infos), err
	}
	h, ok := keys.(holder)
	if !ok {
		return nil, usageError{errors.New("--all: it is not known here which functions are gone")}
	}
	gone, err := h.Quarantined(ctx)
	var list []keyView
	for _, q := range gone {
		if !time.Now().Before(q.Until) {
			continue // reading them would remove them
		}
		found, bad := viewSection(ctx, keys, keyring.FunctionKeys(q.Function), show)
		err = errors.Join(err, bad)
		for _, v := range found {
			until := q.Until.UTC()
			v.State, v.QuarantinedUntil = keyinfo.Kept, &until
			list = append(list, v)
		}
	}
	return list, err
}

// viewInfos gives keys whose values are not to be had.
func viewInfos(infos []keyinfo.Info) []keyView {
	list := make([]keyView, len(infos))
	for i, info := range infos {
		sec := keyring.Section{Function: info.Function}
		sec.Kind, _ = accesskey.ParseKind(info.Kind)
		list[i] = viewInfo(sec, accesskey.Key{Name: info.Name}, info, false)
		list[i].Masked = hiddenValue
	}
	return list
}

// hiddenValue stands for a value that is not told.
const hiddenValue = "…"
