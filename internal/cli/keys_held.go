package cli

import (
	"context"
	"errors"
	"time"

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
	h, ok := keys.(holder)
	if !ok {
		return nil, usageError{errors.New("--all is for an app in a folder; what is kept for apps of an installation is in the audit record")}
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
			v.State = keyinfo.State("quarantined until " + q.Until.UTC().Format(time.RFC3339))
			list = append(list, v)
		}
	}
	return list, err
}
