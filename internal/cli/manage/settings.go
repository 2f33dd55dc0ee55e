package manage

import (
	"context"
	"net/http"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
)

// Settings gives the app settings of an app. Their values may be secrets.
func (i *Installation) Settings(ctx context.Context, a App) (map[string]string, error) {
	settings, _, err := i.settings(ctx, a)
	return settings, err
}

func (i *Installation) settings(ctx context.Context, a App) (map[string]string, string, error) {
	var out struct {
		Properties map[string]string `json:"properties"`
	}
	answer, err := i.client.Exchange(ctx, armclient.Request{Method: http.MethodPost, Path: idPath(a.ID) + "/config/appsettings/list"}, nil, &out)
	if out.Properties == nil {
		out.Properties = map[string]string{}
	}
	return out.Properties, answer.ETag, err
}

// attempts is how often a change is tried when others change the same.
const attempts = 5

// ChangeSettings reads the settings, lets edit change them and writes them, again
// if somebody else was faster. It gives the settings written.
func (i *Installation) ChangeSettings(ctx context.Context, a App, edit func(map[string]string) error) (map[string]string, error) {
	for range attempts {
		settings, tag, err := i.settings(ctx, a)
		if err == nil {
			err = edit(settings)
		}
		if err != nil {
			return nil, err
		}
		answer, err := i.client.Exchange(ctx, armclient.Request{
			Method: http.MethodPut, Path: idPath(a.ID) + "/config/appsettings", IfMatch: tag,
		}, map[string]any{"properties": settings}, nil)
		if answer.Status != http.StatusPreconditionFailed {
			return settings, err
		}
	}
	return nil, problem.New(problem.Conflict, "others kept changing the settings of "+a.Name).WithNext("try again")
}
