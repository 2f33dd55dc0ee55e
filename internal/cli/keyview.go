package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

// keyView is a key as it is shown. Its JSON form is a contract.
type keyView struct {
	Scope    string `json:"scope"` // host or function
	Function string `json:"function,omitempty"`
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Value    string `json:"value,omitempty"` // only when it is to be shown
	Masked   string `json:"masked"`
	ETag     string `json:"etag,omitempty"` // for --if-match
	keyinfo.Details

	hidden bool // who asks may not see the value
}

// viewKey gives a key as far as the key itself says; see [viewSection].
func viewKey(sec keyring.Section, key accesskey.Key, show bool) keyView {
	return viewInfo(sec, key, keyinfo.Of(sec, key, time.Now()), show)
}

func viewInfo(sec keyring.Section, key accesskey.Key, info keyinfo.Info, show bool) keyView {
	v := keyView{
		Scope: "host", Function: sec.Function, Name: key.Name, Kind: sec.Kind.String(),
		Masked: azfkey.Mask(key.Value), ETag: info.ETag, Details: info.Details,
	}
	if sec.Kind == accesskey.Function {
		v.Scope = "function"
	}
	switch {
	case info.HashOnly && (key.Value == "" || strings.Contains(key.Value, "…")):
		v.Masked = key.Value // there is no more of it
	case show, info.HashOnly: // it has just been made, and cannot be shown later
		v.Value = key.Value
	}
	return v
}

// viewSection gives the keys of a section with all that is known about them.
func viewSection(ctx context.Context, keys keyBook, sec keyring.Section, show bool) ([]keyView, error) {
	found, err := keys.List(ctx, sec)
	if problem.KindOf(err) == problem.Denied && !show {
		return viewHidden(ctx, keys, sec, err)
	}
	if err != nil {
		return nil, err
	}
	infos, err := keys.Describe(ctx, sec)
	list := make([]keyView, len(found))
	for i, key := range found {
		info := keyinfo.Of(sec, key, time.Now())
		at := slices.IndexFunc(infos, func(k keyinfo.Info) bool { return strings.EqualFold(k.Name, key.Name) })
		if at >= 0 {
			info = infos[at]
		}
		list[i] = viewInfo(sec, key, info, show)
	}
	return append(list, formerOf(found, infos)...), err
}

// formerOf gives former values that are no keys of their own, where they are known
// from the description only.
func formerOf(found []accesskey.Key, infos []keyinfo.Info) []keyView {
	var former []keyinfo.Info
	for _, info := range infos {
		listed := slices.ContainsFunc(found, func(k accesskey.Key) bool { return strings.EqualFold(k.Name, info.Name) })
		if info.Retires != "" && !listed {
			former = append(former, info)
		}
	}
	return viewInfos(former)
}

// viewHidden is viewSection for those who may see which keys there are, but not their
// values: without that either, denied is the error.
func viewHidden(ctx context.Context, keys keyBook, sec keyring.Section, denied error) ([]keyView, error) {
	infos, err := keys.Describe(ctx, sec)
	if err != nil {
		return nil, denied
	}
	list := viewInfos(infos)
	for i := range list {
		list[i].hidden = true
	}
	return list, nil
}

// view gives the key with all that is known about it.
func (k *oneKey) view(ctx context.Context, show bool) (keyView, error) {
	list, err := viewSection(ctx, k.keys, k.sec, show)
	if err != nil {
		return keyView{}, err
	}
	for _, v := range list {
		if k.sec.Kind == accesskey.Master || strings.EqualFold(v.Name, k.name) {
			return v, nil
		}
	}
	return keyView{}, problem.New(problem.NotFound, "there is no key of that name any more")
}

// stateText says for people whether a key works, as far as that does not depend on
// the request.
func (v keyView) stateText() string {
	end := ""
	if v.Expires != nil {
		end = v.Expires.Format(time.RFC3339)
	}
	switch {
	case v.State == keyinfo.Kept && v.QuarantinedUntil != nil:
		return "quarantined until " + v.QuarantinedUntil.Format(time.RFC3339)
	case v.State == keyinfo.Retiring:
		return "former of " + printable(v.Retires) + ", until " + end + v.lastUse()
	case v.State == keyinfo.Retired:
		return "former of " + printable(v.Retires) + ", ended"
	case v.State == keyinfo.Expired:
		return "expired " + end
	case v.State == keyinfo.NotYet && v.NotBefore != nil:
		return "from " + v.NotBefore.Format(time.RFC3339)
	case v.State != keyinfo.Active:
		return string(v.State)
	case end != "":
		return "expires " + end
	}
	return "ok"
}

// lastUse says when somebody last used a former value, who will soon be locked out.
func (v keyView) lastUse() string {
	if v.Uses == nil || v.Last == nil {
		return ""
	}
	return ", last used " + v.Last.Format(time.RFC3339)
}

// row gives the cells of a table: a shown value takes the place of the mask.
func (v keyView) row() []string {
	shown := v.Masked
	if v.Value != "" {
		shown = v.Value
	}
	function := v.Function
	if function == "" {
		function = "-"
	}
	return []string{v.Kind, function, v.Name, shown, v.stateText()}
}

func printKeys(env *Env, out *choice, list []keyView) error {
	if out.is(formJSON) {
		return writeJSON(env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for i, v := range list {
		rows[i] = v.row()
	}
	return writeTable(env.Stdout, "KIND FUNCTION NAME VALUE STATE", rows)
}

// printKey shows one key, and on a terminal how to see its value.
func printKey(env *Env, out *choice, v keyView) error {
	if out.is(formJSON) {
		return writeJSON(env.Stdout, v)
	}
	if err := printKeys(env, out, []keyView{v}); err != nil {
		return err
	}
	switch {
	case v.Value != "" && v.HashOnly:
		fmt.Fprintln(env.Stderr, "the value is not kept: it is shown this once")
	case v.Value != "":
	case v.HashOnly:
		fmt.Fprintln(env.Stderr, "the value is not kept and cannot be shown")
	default:
		fmt.Fprintln(env.Stderr, "the value is masked; --show shows it")
	}
	return nil
}
