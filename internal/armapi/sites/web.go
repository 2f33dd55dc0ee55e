package sites

import (
	"context"

	"github.com/latchkey/latchkey/internal/app"
)

// web gives an app's whole configuration: what was set over the defaults. It
// never has app settings or connection strings.
func (api *API) web(ctx context.Context, a app.App) (map[string]any, error) {
	v, err := api.Apps.SectionOf(ctx, a, app.Web)
	if err != nil {
		return nil, err
	}
	web := app.WebDefaults(a.Name)
	return web, overlay(web, v.JSON)
}
