/* What-if: the user's own sums at other prices. How sums are priced is mix.c's; here changes find their
 * models and their targets, and the shares are added up, exactly. */

#include "llmlab/core/simulation.h"

#include <string.h>
#include <strings.h>

/* What is worked on. */
struct work {
	const struct simulation_input *in;
	struct arena *arena;
	struct problem *problem;
	bool applied[SIMULATION_CHANGES_MAX]; /* the change found a model */
};

static void refuse(struct work *w, size_t change, const char *field, const char *message)
{
	const char *name = arena_printf(w->arena, "changes[%zu].%s", change, field);
	if (name)
		problem_add(w->problem, name, "%s", message);
}

/* ---- targets ---- */

static bool applies(const struct simulation_change *c, const struct model_usage *u)
{
	return strcasecmp(c->model, u->model) == 0 && (!c->provider || strcmp(c->provider, u->provider) == 0);
}

static struct price_match find_record(
	const struct simulation_input *in, const char *provider, const char *model, bool *ret_own)
{
	return price_find_own(in->catalogue, in->overrides, in->n_overrides, provider, model, NULL, ret_own);
}

/* Who would bill the change: the named provider; else the row's, if it has the model; else who sells it. */
static bool find_target(struct work *w, const struct simulation_change *c, const struct model_usage *u,
	struct simulation_target *t)
{
	const char *model = c->to_model ? c->to_model : u->model;
	const char *provider = c->to_provider ? c->to_provider : u->provider;
	struct price_match m = find_record(w->in, provider, model, &t->own_price);
	if (!m.record && !c->to_provider)
		m = find_record(w->in, NULL, model, &t->own_price);
	if (c->to_provider && !m.record && !m.provider) {
		refuse(w, t->change, "to_provider", "is not a known provider");
		return false;
	}
	if (!m.record) {
		refuse(w, t->change,
			c->to_model	 ? "to_model"
			: c->to_provider ? "to_provider"
					 : "model",
			"has no price: neither the catalogue nor a price of your own knows it");
		return false;
	}
	t->record = m.record;
	t->model = model;
	t->provider = m.provider ? m.provider->id : provider;
	t->other_model = strcasecmp(model, u->model) != 0;
	return true;
}

/* The average call of the model fits, or nothing is known of that. */
static bool average_fits(
	const struct simulation_input *in, const struct simulation_target *t, const struct model_usage *u)
{
	const struct price_match m = price_find(in->catalogue, t->provider, t->model, NULL);
	const int64_t window = !m.record		      ? 0
			       : m.record->context_window > 0 ? m.record->context_window
							      : m.record->max_input_tokens;
	return window <= 0 || ((int128)u->input_tokens + u->output_tokens) / u->calls <= window;
}

static bool price_target(struct work *w, const struct simulation_change *c, const struct model_usage *u,
	struct simulation_target *t)
{
	const struct token_mix mix = model_usage_mix(u);
	const struct price_period *period = price_period_at(t->record, w->in->at_us);
	if (c->has_tier && c->tier != TIER_STANDARD && period && period->service[c->tier].n_tiers == 0) {
		refuse(w, t->change, "service_tier", "the model has no prices of its own for it");
		return false;
	}
	if (!mix_cost(t->record, w->in->at_us, c->tier, &mix, &t->cost)) {
		refuse(w, t->change, c->to_model ? "to_model" : "model",
			"has no price for input and output tokens at that time");
		return false;
	}
	t->fits = average_fits(w->in, t, u);
	return true;
}

/* ---- amounts ---- */

/* Adds share x amount. */
static bool add_share(int128 *to, int64_t share, struct money amount)
{
	int128 product = 0;
	return decimal_mul(amount.atto, share, &product) && decimal_add(*to, product, to);
}

static bool add_amounts(struct simulation_amount *to, int64_t share, const struct mix_cost *cost)
{
	return add_share(&to->least, share, cost->least) && add_share(&to->expected, share, cost->expected) &&
	       add_share(&to->most, share, cost->most);
}

static bool add_row(struct simulation *s, const struct simulation_row *row)
{
	return decimal_add(s->actual, row->actual, &s->actual) &&
	       decimal_add(s->simulated.least, row->simulated.least, &s->simulated.least) &&
	       decimal_add(s->simulated.expected, row->simulated.expected, &s->simulated.expected) &&
	       decimal_add(s->simulated.most, row->simulated.most, &s->simulated.most);
}

/* ---- rows ---- */

/* Appends what the change makes of the row; problems are named. */
static void apply_change(struct work *w, size_t change, struct simulation_row *row)
{
	const struct simulation_change *c = &w->in->changes[change];
	const struct model_usage *u = &w->in->models[row->usage];
	struct simulation_target t = {.change = change};
	w->applied[change] = true;
	if (row->moved + c->share > SIMULATION_SHARE_WHOLE) {
		refuse(w, change, "share", "the shares of this model's calls add up to more than 1");
		return;
	}
	if (!find_target(w, c, u, &t) || !price_target(w, c, u, &t))
		return;
	row->moved += c->share;
	row->targets[row->n_targets++] = t;
}

/* Amounts of a row whose changes are applied. */
static bool add_up_row(const struct simulation_input *in, struct simulation_row *row)
{
	const struct money cost = in->models[row->usage].cost;
	const struct mix_cost stays = {.least = cost, .expected = cost, .most = cost};
	if (!add_share(&row->actual, SIMULATION_SHARE_WHOLE, cost) ||
		!add_amounts(&row->simulated, SIMULATION_SHARE_WHOLE - row->moved, &stays))
		return false;
	for (size_t i = 0; i < row->n_targets; i++)
		if (!add_amounts(&row->simulated, in->changes[row->targets[i].change].share,
			    &row->targets[i].cost))
			return false;
	return true;
}

static void find_listed(const struct simulation_input *in, struct simulation_row *row)
{
	const struct model_usage *u = &in->models[row->usage];
	const struct token_mix mix = model_usage_mix(u);
	bool own;
	const struct price_match m = find_record(in, u->provider, u->model, &own);
	row->has_listed = m.record && mix_cost(m.record, in->at_us, TIER_STANDARD, &mix, &row->listed);
}

/* ERR_OK also when problems were named: all of them are wanted at once. */
static enum err make_row(struct work *w, size_t usage, struct simulation_row *row)
{
	*row = (struct simulation_row){.usage = usage};
	size_t n = 0;
	for (size_t i = 0; i < w->in->n_changes; i++)
		n += applies(&w->in->changes[i], &w->in->models[usage]);
	row->targets = arena_array(w->arena, n, sizeof(*row->targets));
	if (!row->targets)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < w->in->n_changes; i++)
		if (applies(&w->in->changes[i], &w->in->models[usage]))
			apply_change(w, i, row);
	if (row->n_targets > 0)
		find_listed(w->in, row);
	return add_up_row(w->in, row) ? ERR_OK : ERR_RANGE;
}

enum err simulation_run(
	const struct simulation_input *in, struct arena *arena, struct simulation *ret, struct problem *p)
{
	(void)price_find_starved();
	struct work w = {.in = in, .arena = arena, .problem = p};
	struct simulation s = {.n = in->n_models};
	s.rows = arena_array(arena, in->n_models, sizeof(*s.rows));
	if (!s.rows)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < in->n_models; i++) {
		const enum err e = make_row(&w, i, &s.rows[i]);
		if (e != ERR_OK)
			return e;
		if (!add_row(&s, &s.rows[i]))
			return ERR_RANGE;
	}
	for (size_t i = 0; i < in->n_changes; i++)
		if (!w.applied[i])
			refuse(&w, i, "model", "was not called in this range");
	if (price_find_starved() || arena_overflowed(arena))
		return ERR_NO_MEMORY;
	if (!problem_none(p))
		return p->code;
	*ret = s;
	return ERR_OK;
}
