package sites

import (
	"context"

	"github.com/latchkey/latchkey/internal/app"
)

// web gives an app's whole configuration: what was set over the defaults. It
// never has app settings or connection strings.
func (api *API) web(ctx context.Context, a app.App) (map[string]any, error) {
	v, err := api.Apps.Section(ctx, a.ID, app.Web)
	if err != nil {
		return nil, missing(err, a.ID)
	}
	web := app.WebDefaults(a.Name)
	return web, overlay(web, v.JSON)
}
