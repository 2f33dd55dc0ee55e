package manage

import "context"

// FoundKey is a key that has a value that was looked for.
type FoundKey struct {
	App      string `json:"app"` // resource id
	Kind     string `json:"kind"`
	Function string `json:"function,omitempty"`
	Name     string `json:"name"`
}

// FoundKeys is where a value is a key.
type FoundKeys struct {
	Keys   []FoundKey `json:"value"`
	Apps   int        `json:"apps"` // that were looked at
	Unread []struct {
		App     string `json:"app"`
		Message string `json:"message"`
	} `json:"unread"`
}

// FindKey tells whose keys a value is, which may be an address with one: of the app
// that is named, or of all apps for "".
func (i *Installation) FindKey(ctx context.Context, value, app string) (found FoundKeys, err error) {
	in := map[string]string{"value": value}
	if app == "" {
		path, err := i.subscriptionPath(ctx)
		if err != nil {
			return found, err
		}
		return found, i.post(ctx, path+"/providers/Latchkey.Keys/find", in, &found)
	}
	a, err := i.App(ctx, app)
	if err == nil {
		err = i.post(ctx, idPath(a.ID)+"/host/default/findkey", in, &found)
	}
	return found, err
}
